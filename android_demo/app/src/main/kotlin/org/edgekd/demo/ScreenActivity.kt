package org.edgekd.demo

import android.app.Activity
import android.os.Build
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.RadioGroup
import android.widget.TextView
import org.edgekd.core.EngineSettings

/** A screen: the disclaimer above, [layout] in the middle, the intended use below; shows the session's state. */
abstract class ScreenActivity(private val layout: Int) : Activity() {
    protected val session: Session get() = (application as DemoApplication).session

    private val observer: (DemoState) -> Unit = ::show

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.screen)
        layoutInflater.inflate(layout, view<ViewGroup>(R.id.content))
        view<TextView>(R.id.heading).text = title
        keepOffSystemBars(view(R.id.root))
    }

    override fun onStart() {
        super.onStart()
        session.observe(observer)
    }

    override fun onStop() {
        session.forget(observer)
        super.onStop()
    }

    protected abstract fun render(state: DemoState)

    private fun show(state: DemoState) {
        val use = state.manifest?.let { getString(R.string.intended_use, it.intendedUse) }
        view<TextView>(R.id.intended_use).say(use.orEmpty())
        render(state)
    }

    protected fun <T : View> view(id: Int): T = window.decorView.child(id)
}

fun <T : View> View.child(id: Int): T = requireNotNull(findViewById(id))

/** Show [text], or take no room for an empty one. Unchanged text is not set again: TalkBack would read it again. */
fun TextView.say(text: String) {
    visibility = if (text.isEmpty()) View.GONE else View.VISIBLE
    if (this.text.toString() != text) this.text = text
}

/** The number of threads chosen in `threads.xml`. */
var RadioGroup.settings: EngineSettings
    get() = EngineSettings(
        numThreads = when (checkedRadioButtonId) {
            R.id.threads_2 -> 2
            R.id.threads_4 -> 4
            else -> 1
        },
    )
    set(value) = check(
        when (value.numThreads) {
            2 -> R.id.threads_2
            4 -> R.id.threads_4
            else -> R.id.threads_1
        },
    )

/** From Android 15 on a window lies under the bars and the cutout; before that the insets here are 0. */
private fun keepOffSystemBars(root: View) = root.setOnApplyWindowInsetsListener { view, insets ->
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
        val bars = insets.getInsets(WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout())
        view.setPadding(bars.left, bars.top, bars.right, bars.bottom)
    } else {
        padAsBefore(view, insets)
    }
    insets
}

@Suppress("DEPRECATION") // what there is before Android 11
private fun padAsBefore(view: View, insets: WindowInsets) = view.setPadding(
    insets.systemWindowInsetLeft,
    insets.systemWindowInsetTop,
    insets.systemWindowInsetRight,
    insets.systemWindowInsetBottom,
)
