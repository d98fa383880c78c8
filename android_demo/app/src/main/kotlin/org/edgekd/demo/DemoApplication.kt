package org.edgekd.demo

import android.app.Application
import android.content.Context
import android.os.Build
import android.os.Handler
import android.os.Looper
import android.os.Process
import java.io.File
import java.io.IOException
import java.util.concurrent.Executors
import org.edgekd.core.Device

/** Holds the session and starts it with the self-test. */
class DemoApplication : Application() {
    lateinit var session: Session
        private set

    override fun onCreate() {
        super.onCreate()
        val handler = Handler(Looper.getMainLooper())
        session = Session(platform(this), Executors.newSingleThreadExecutor(), { handler.post(it) })
        session.test()
    }
}

/** This phone, with the bundle in the assets of [context]. */
fun platform(context: Context) = Platform(
    files = AssetFiles(context.assets, "edgekd"),
    engines = TfliteEngine::open,
    decoder = BitmapDecoder,
    device = ::thisDevice,
    runtime = TfliteEngine::runtime,
    store = { name, json -> store(context, name, json) },
)

private fun thisDevice() = Device(
    manufacturer = Build.MANUFACTURER,
    model = Build.MODEL,
    // Of this process, which need not be what the processor could do best.
    abi = (if (Process.is64Bit()) Build.SUPPORTED_64_BIT_ABIS else Build.SUPPORTED_32_BIT_ABIS).first(),
    androidVersion = Build.VERSION.RELEASE,
    apiLevel = Build.VERSION.SDK_INT,
)

private fun store(context: Context, name: String, json: String): String {
    val folder = File(context.getExternalFilesDir(null) ?: throw IOException("no storage is mounted"), "benchmarks")
    if (!folder.isDirectory && !folder.mkdirs()) throw IOException("$folder cannot be made")
    return folder.resolve(name).apply { writeText(json) }.path
}
