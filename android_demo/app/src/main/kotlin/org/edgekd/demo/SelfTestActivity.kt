package org.edgekd.demo

import android.os.Bundle
import android.widget.Button
import android.widget.RadioGroup
import android.widget.TextView

/** Runs the bundle's golden inputs on this device and says in words what failed. */
class SelfTestActivity : ScreenActivity(R.layout.self_test) {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val threads = view<RadioGroup>(R.id.threads)
        threads.settings = session.state.settings
        view<Button>(R.id.run).setOnClickListener { session.test(threads.settings) }
    }

    override fun render(state: DemoState) {
        view<Button>(R.id.run).isEnabled = state.canTest
        view<TextView>(R.id.gate).say(resources.gate(state))
        view<TextView>(R.id.failures).say(resources.failures(state.gate))
    }
}
