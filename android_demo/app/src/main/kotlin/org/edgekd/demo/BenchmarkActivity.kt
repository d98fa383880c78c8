package org.edgekd.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.RadioGroup
import android.widget.TextView
import android.widget.Toast
import java.io.IOException
import org.edgekd.core.NUM_RUNS
import org.edgekd.core.WARMUP_RUNS

/** Times the model on this device, and hands the result out as JSON. */
class BenchmarkActivity : ScreenActivity(R.layout.benchmark) {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val threads = view<RadioGroup>(R.id.threads)
        threads.settings = session.state.settings
        view<TextView>(R.id.what).text =
            getString(R.string.benchmark_what, WARMUP_RUNS, NUM_RUNS, BENCHMARK_WIDTH, BENCHMARK_HEIGHT)
        view<Button>(R.id.run).setOnClickListener { session.time(threads.settings) }
        view<Button>(R.id.export).setOnClickListener { export() }
    }

    private fun export() {
        val done = session.state.timing as? Timing.Done ?: return
        val document = Intent(Intent.ACTION_CREATE_DOCUMENT)
            .addCategory(Intent.CATEGORY_OPENABLE)
            .setType("application/json")
            .putExtra(Intent.EXTRA_TITLE, fileName(done.report))
        try {
            startActivityForResult(document, EXPORT)
        } catch (_: ActivityNotFoundException) {
            tell(R.string.no_app)
        }
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val uri = data?.data
        if (resultCode != Activity.RESULT_OK || uri == null) return
        tell(if (write(uri)) R.string.exported else R.string.not_exported)
    }

    /** A few hundred bytes. False if the result is gone, the process having ended meanwhile, or cannot be written. */
    private fun write(uri: Uri): Boolean {
        val done = session.state.timing as? Timing.Done ?: return false
        return try {
            val stream = contentResolver.openOutputStream(uri, "wt") ?: return false
            stream.use { it.write(done.report.toJson().toByteArray()) }
            true
        } catch (_: IOException) {
            false
        } catch (_: SecurityException) {
            false
        }
    }

    private fun tell(message: Int) = Toast.makeText(this, message, Toast.LENGTH_LONG).show()

    override fun render(state: DemoState) {
        view<Button>(R.id.run).isEnabled = state.canTest
        view<TextView>(R.id.gate).say(resources.gate(state))
        view<TextView>(R.id.result).say(resources.benchmark(state.timing))
        view<View>(R.id.export).visibility = if (state.timing is Timing.Done) View.VISIBLE else View.GONE
    }

    private companion object {
        const val EXPORT = 1
    }
}
