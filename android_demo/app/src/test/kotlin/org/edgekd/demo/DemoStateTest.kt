package org.edgekd.demo

import org.edgekd.core.EngineSettings
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class DemoStateTest {
    private val passed = DemoState(gate = Gate.Passed(18, 340.0))
    private val refused = Shown.Refused("too large")

    @Test
    fun `only a passed self-test lets pictures in`() {
        val gates = listOf(Gate.Testing, Gate.Failed(emptyList(), 18), Gate.Broken("no bundle"), Gate.Passed(18, 340.0))
        assertEquals(listOf(false, false, false, true), gates.map { DemoState(gate = it).canClassify })
    }

    @Test
    fun `one thing at a time`() {
        for (busy in listOf(passed.copy(shown = Shown.Working), passed.copy(timing = Timing.Running))) {
            assertFalse(busy.canClassify)
            assertFalse(busy.canTest)
        }
        assertTrue(DemoState(gate = Gate.Broken("no bundle")).canTest)
    }

    @Test
    fun `what is shown goes when the self-test starts again`() {
        val state = passed.copy(shown = refused, timing = Timing.Failed("no")).after(Event.Test(EngineSettings(4)))
        assertEquals(DemoState(settings = EngineSettings(4)), state)
    }

    @Test
    fun `no answer and no time appears behind a closed gate`() {
        for (gate in listOf(Gate.Testing, Gate.Failed(emptyList(), 18), Gate.Broken("no bundle"))) {
            val closed = DemoState(gate = gate)
            assertSame(Shown.None, closed.after(Event.Show(refused)).shown)
            assertSame(Timing.None, closed.after(Event.Time(Timing.Failed("no"))).timing)
        }
        assertEquals(refused, passed.after(Event.Show(refused)).shown)
    }
}
