package org.edgekd.demo

import java.nio.MappedByteBuffer
import org.edgekd.core.Bundle
import org.edgekd.core.Classifier
import org.edgekd.core.EngineSettings
import org.edgekd.core.MODEL_FILE
import org.edgekd.core.sha256
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Runs on a phone: the bundle in the APK gives the answers that it brings. */
class SelfTestDeviceTest {
    @Test
    fun everyNumberOfThreadsPasses() {
        for (numThreads in THREADS) assertPasses(EngineSettings(numThreads))
    }

    @Test
    fun theBuiltInKernelsPassToo() = assertPasses(EngineSettings(xnnpack = false))

    private fun assertPasses(settings: EngineSettings) {
        Classifier.open(bundle(), settings, engines = phone.engines).use { classifier ->
            val failed = test(classifier).checks.filter { !it.passed }.map { "${it.kind} ${it.name}" }
            assertEquals("$settings", emptyList<String>(), failed)
        }
    }

    @Test
    fun theModelIsMappedFromTheApk() {
        val model = phone.files.open(MODEL_FILE)
        assertTrue("read into memory instead", model is MappedByteBuffer && model.isReadOnly)
        assertEquals(bundle().manifest.files.single { it.path == MODEL_FILE }.sha256, sha256(model))
    }

    private fun bundle() = Bundle.open(phone.files)
}
