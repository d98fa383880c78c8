package androidx.test.platform.app

import android.app.Instrumentation

/** The one thing of AndroidX that the instrumented tests name; here, so that they compile without Google's repository. */
object InstrumentationRegistry {
    @JvmStatic
    fun getInstrumentation(): Instrumentation = error("instrumented tests run on a device")
}
