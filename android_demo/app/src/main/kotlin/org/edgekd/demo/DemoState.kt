package org.edgekd.demo

import org.edgekd.core.Answer
import org.edgekd.core.BenchmarkReport
import org.edgekd.core.Check
import org.edgekd.core.EngineSettings
import org.edgekd.core.Manifest

/** What the self-test says about this device: only [Passed] lets pictures be classified. */
sealed interface Gate {
    /** It runs, or will before anything else does. */
    object Testing : Gate

    data class Passed(val checks: Int, val millis: Double) : Gate

    data class Failed(val failures: List<Check>, val checks: Int) : Gate

    /** It could not be run at all. */
    data class Broken(val reason: String) : Gate
}

/** The picture on the screen, and what the model says of it. */
sealed interface Shown {
    object None : Shown

    object Working : Shown

    data class Classified(val preview: Pixels, val modelView: Pixels, val answer: Answer) : Shown

    data class Refused(val reason: String) : Shown
}

/** The benchmark. */
sealed interface Timing {
    object None : Timing

    object Running : Timing

    data class Done(val report: BenchmarkReport, val stored: Stored) : Timing

    data class Failed(val reason: String) : Timing
}

/** Where a benchmark's JSON went by itself, or why it went nowhere. */
sealed interface Stored {
    data class In(val path: String) : Stored

    data class Nowhere(val reason: String) : Stored
}

/** Everything that the screens show. */
data class DemoState(
    val settings: EngineSettings = EngineSettings(),
    val manifest: Manifest? = null,
    val gate: Gate = Gate.Testing,
    val shown: Shown = Shown.None,
    val timing: Timing = Timing.None,
) {
    /** Whether something runs that must end before anything else is started. */
    val busy: Boolean get() = gate == Gate.Testing || shown == Shown.Working || timing == Timing.Running
    val canClassify: Boolean get() = gate is Gate.Passed && !busy
    val canTest: Boolean get() = !busy
}

sealed interface Event {
    /** The self-test starts, with these settings. */
    data class Test(val settings: EngineSettings) : Event

    /** A bundle was opened. */
    data class Opened(val manifest: Manifest) : Event

    data class Tested(val gate: Gate) : Event

    data class Show(val shown: Shown) : Event

    data class Time(val timing: Timing) : Event
}

/** The state after [event]. An answer never outlives the gate that it was given behind. */
fun DemoState.after(event: Event): DemoState = when (event) {
    is Event.Test -> copy(settings = event.settings, gate = Gate.Testing, shown = Shown.None, timing = Timing.None)
    is Event.Opened -> copy(manifest = event.manifest)
    is Event.Tested -> copy(gate = event.gate)
    is Event.Show -> if (gate is Gate.Passed) copy(shown = event.shown) else copy(shown = Shown.None)
    is Event.Time -> if (gate is Gate.Passed) copy(timing = event.timing) else copy(timing = Timing.None)
}
