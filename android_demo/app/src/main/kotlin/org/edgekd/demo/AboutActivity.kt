package org.edgekd.demo

import android.widget.TextView

/** What the bundle says of the model: figures, data, licence. */
class AboutActivity : ScreenActivity(R.layout.about) {
    override fun render(state: DemoState) {
        view<TextView>(R.id.text).say(state.manifest?.let(resources::about) ?: getString(R.string.about_nothing))
    }
}
