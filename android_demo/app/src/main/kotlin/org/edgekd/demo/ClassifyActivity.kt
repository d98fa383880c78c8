package org.edgekd.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.graphics.Bitmap
import android.os.Bundle
import android.provider.MediaStore
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.edgekd.core.Ranked

/** The first screen: choose or take a picture, and see what the model says of it. */
class ClassifyActivity : ScreenActivity(R.layout.classify) {
    private var drawn: Shown? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        view<Button>(R.id.pick).setOnClickListener { pick() }
        view<Button>(R.id.take).setOnClickListener { take() }
        view<Button>(R.id.to_self_test).setOnClickListener { go(SelfTestActivity::class.java) }
        view<Button>(R.id.to_benchmark).setOnClickListener { go(BenchmarkActivity::class.java) }
        view<Button>(R.id.to_about).setOnClickListener { go(AboutActivity::class.java) }
    }

    private fun go(screen: Class<out ScreenActivity>) = startActivity(Intent(this, screen))

    private fun pick() {
        val picture = Intent(Intent.ACTION_OPEN_DOCUMENT)
            .addCategory(Intent.CATEGORY_OPENABLE)
            .setType("image/*")
            .putExtra(Intent.EXTRA_MIME_TYPES, arrayOf("image/png", "image/jpeg"))
        ask(PICK, picture, Intent(picture).setAction(Intent.ACTION_GET_CONTENT))
    }

    private fun take() {
        CaptureProvider.file(this).delete() // else a camera that writes nothing would leave the picture before
        val camera = Intent(MediaStore.ACTION_IMAGE_CAPTURE)
            .putExtra(MediaStore.EXTRA_OUTPUT, CaptureProvider.URI)
            .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        camera.clipData = ClipData.newRawUri(null, CaptureProvider.URI) // carries the grant where the extra does not
        ask(TAKE, camera)
    }

    /** Start the first of [intents] that some app takes. */
    private fun ask(request: Int, vararg intents: Intent) {
        for (intent in intents) {
            try {
                return startActivityForResult(intent, request)
            } catch (_: ActivityNotFoundException) {
                continue
            }
        }
        Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != Activity.RESULT_OK) return
        if (requestCode == TAKE) {
            val file = CaptureProvider.file(applicationContext)
            session.classify {
                try {
                    readPicture { file.inputStream() }
                } finally {
                    file.delete()
                }
            }
        } else {
            val uri = data?.data ?: return
            val resolver = applicationContext.contentResolver
            session.classify { readPicture { resolver.openInputStream(uri) } }
        }
    }

    override fun render(state: DemoState) {
        val gate = listOf(resources.gate(state), resources.failures(state.gate))
        view<TextView>(R.id.gate).say(gate.joinToString("\n").trim())
        view<Button>(R.id.pick).isEnabled = state.canClassify
        view<Button>(R.id.take).isEnabled = state.canClassify
        if (state.shown === drawn) return
        drawn = state.shown
        when (val shown = state.shown) {
            Shown.None -> draw("", null)
            Shown.Working -> draw(getString(R.string.working), null)
            is Shown.Refused -> draw(shown.reason, null)
            is Shown.Classified -> draw(state.manifest?.let { resources.verdict(shown.answer, it) }.orEmpty(), shown)
        }
    }

    private fun draw(status: String, shown: Shown.Classified?) {
        view<TextView>(R.id.status).say(status)
        view<View>(R.id.pictures).visibility = if (shown == null) View.GONE else View.VISIBLE
        val classes = view<ViewGroup>(R.id.classes)
        classes.removeAllViews()
        view<ImageView>(R.id.preview).setImageBitmap(shown?.preview?.toBitmap())
        view<ImageView>(R.id.model_view).setImageBitmap(shown?.modelView?.toBitmap())
        if (shown == null) return
        val size = shown.modelView
        view<TextView>(R.id.model_view_size).text = getString(R.string.model_view_size, size.width, size.height)
        shown.answer.ranked.forEach { classes.addView(row(it, classes)) }
    }

    private fun row(ranked: Ranked, parent: ViewGroup): View {
        val row = layoutInflater.inflate(R.layout.class_row, parent, false)
        val prob = probability(ranked.prob.toDouble())
        row.contentDescription = getString(R.string.class_prob, ranked.label, prob)
        row.child<TextView>(R.id.label).text = ranked.label
        row.child<TextView>(R.id.prob).text = prob
        val bar = row.child<ProgressBar>(R.id.bar)
        bar.progress = (ranked.prob * bar.max).toInt()
        return row
    }

    private companion object {
        const val PICK = 1
        const val TAKE = 2
    }
}

private fun Pixels.toBitmap(): Bitmap = Bitmap.createBitmap(argb, width, height, Bitmap.Config.ARGB_8888)
