package org.edgekd.demo

import androidx.test.platform.app.InstrumentationRegistry
import org.edgekd.core.Classifier
import org.edgekd.core.selfTest

/** The numbers of threads that the app offers. */
val THREADS = listOf(1, 2, 4)

/** This device, with the bundle in the app's assets. */
val phone: Platform by lazy { platform(InstrumentationRegistry.getInstrumentation().targetContext) }

fun test(classifier: Classifier) = selfTest(classifier, phone.decoder)
