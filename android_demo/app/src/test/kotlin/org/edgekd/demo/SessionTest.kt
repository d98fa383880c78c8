package org.edgekd.demo

import java.io.IOException
import java.util.concurrent.Executor
import org.edgekd.core.Check
import org.edgekd.core.EngineSettings
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class SessionTest {
    private val engines = mutableListOf<FakeEngine>()
    private val stored = mutableMapOf<String, String>()
    private val direct = Executor { it.run() }
    private val waiting = ArrayDeque<Runnable>()

    private fun session(
        bundle: FakeBundle = FakeBundle(),
        bias: (EngineSettings) -> Float = { 0f },
        worker: Executor = direct,
        store: (String, String) -> String = { name, json -> "/there/$name".also { stored[name] = json } },
    ) = Session(
        Platform(
            files = bundle,
            engines = { _, settings -> FakeEngine(settings, bias(settings)).also { engines += it } },
            decoder = fakeDecoder,
            device = { fakePhone },
            runtime = { "Fake 1.0" },
            store = store,
        ),
        worker,
        ui = direct,
    )

    private fun Session.answer() = (state.shown as Shown.Classified).answer

    @Test
    fun `nothing is classified before the self-test has passed`() {
        val session = session()
        var read = false
        session.classify { png(200).also { read = true } }
        assertFalse(read)
        assertSame(Shown.None, session.state.shown)
        assertFalse(session.state.canClassify)
    }

    @Test
    fun `a passed self-test opens the gate`() {
        val session = session().apply { test() }
        assertEquals(3, (session.state.gate as Gate.Passed).checks) // answer, flipped sign, preprocessing
        assertTrue(session.state.canClassify)
        assertEquals("For trying out.", session.state.manifest?.intendedUse)
    }

    @Test
    fun `a picture is classified, the classes ordered`() {
        val session = session().apply { test() }
        session.classify { png(51, width = 7, height = 5) } // 51 of 255 is 0.2
        val (first, second) = session.answer().ranked
        assertEquals("dark" to "bright", first.label to second.label)
        assertEquals(0.8f, first.prob, 1e-6f)
        assertEquals(0.2f, second.prob, 1e-6f)
        assertFalse(session.answer().lowConfidence)
    }

    @Test
    fun `an answer under the bundle's threshold of 0,7 is of low confidence`() {
        val session = session().apply { test() }
        session.classify { png(90) } // 1 - 90 / 255 is 0.65
        assertTrue(session.answer().lowConfidence)
    }

    @Test
    fun `what is shown as the model's view is what the model was given`() {
        val session = session().apply { test() }
        session.classify { png(51, width = 7, height = 5) }
        assertEquals(grey(51).toList(), engines.single().inputs.last())
        val shown = session.state.shown as Shown.Classified
        assertEquals(List(4) { 0xFF333333.toInt() }, shown.modelView.argb.toList())
        assertEquals(7 to 5, shown.preview.width to shown.preview.height)
    }

    @Test
    fun `a picture that cannot be classified is refused in words and the next one is taken`() {
        val session = session().apply { test() }
        session.classify { "GIF89a".toByteArray() }
        assertEquals(
            "a file that is neither PNG nor JPEG cannot be classified here; save it as 8-bit PNG or JPEG",
            (session.state.shown as Shown.Refused).reason,
        )
        session.classify { png(200) }
        assertEquals("bright", session.answer().ranked.first().label)
    }

    @Test
    fun `a wrong answer closes the gate, says which, and closes the model`() {
        val session = session(bias = { -0.5f }).apply { test() }
        val failed = session.state.gate as Gate.Failed
        assertEquals(listOf(Check.Kind.ANSWER to "golden/input.bin"), failed.failures.map { it.kind to it.name })
        assertEquals(3, failed.checks)
        assertTrue(engines.single().closed)
        session.classify { png(200) }
        assertSame(Shown.None, session.state.shown)
    }

    @Test
    fun `preprocessing that differs closes the gate`() {
        val session = session(FakeBundle().with("golden/image.bin", grey(91), signed = true)).apply { test() }
        assertEquals(Check.Kind.PREPROCESSING, (session.state.gate as Gate.Failed).failures.single().kind)
    }

    @Test
    fun `a bundle that was tampered with is not opened`() {
        val session = session(FakeBundle().with("model.tflite", byteArrayOf(1, 2, 4), signed = false)).apply { test() }
        assertEquals(
            "model.tflite is not the file that was bundled (SHA-256); lay it in again",
            (session.state.gate as Gate.Broken).reason,
        )
        assertTrue(engines.isEmpty())
    }

    @Test
    fun `another number of threads has to pass the self-test itself`() {
        val session = session(bias = { if (it.numThreads == 4) -0.5f else 0f }).apply { test() }
        session.classify { png(200) }
        session.test(EngineSettings(numThreads = 4))
        assertTrue(session.state.gate is Gate.Failed)
        assertSame(Shown.None, session.state.shown)
        assertTrue(engines.all { it.closed })
    }

    @Test
    fun `a benchmark is stored as JSON`() {
        val session = session().apply { test() }
        session.time(EngineSettings(numThreads = 2))
        val done = session.state.timing as Timing.Done
        assertEquals(2, engines.last().settings.numThreads)
        assertEquals(Stored.In("/there/edgekd-my_recipe-acme_co-f_n_7-arm64-v8a-xnnpack-2t.json"), done.stored)
        // 20 + 200 runs beside the golden input and its flipped self
        assertEquals(222, engines.last().inputs.size)
        assertEquals(done.report.toJson(), stored.values.single())
        assertEquals(200 to 20, done.report.numRuns to done.report.warmupRuns)
        assertEquals("Fake 1.0" to fakePhone, done.report.runtime to done.report.device)
    }

    @Test
    fun `a benchmark with the settings that passed does not test again`() {
        val session = session().apply { test() }
        session.time(session.state.settings)
        assertTrue(session.state.timing is Timing.Done)
        assertEquals(1, engines.size)
    }

    @Test
    fun `no benchmark of a model that failed the self-test`() {
        val session = session(bias = { -0.5f })
        session.time(EngineSettings())
        assertSame(Timing.None, session.state.timing)
        assertTrue(stored.isEmpty())
    }

    @Test
    fun `a benchmark that cannot be stored is shown all the same`() {
        val session = session(store = { _, _ -> throw IOException("no storage is mounted") }).apply { test() }
        session.time(session.state.settings)
        assertEquals(Stored.Nowhere("no storage is mounted"), (session.state.timing as Timing.Done).stored)
    }

    @Test
    fun `the screens see every step and none after they have gone`() {
        val session = session(worker = { waiting += it })
        val seen = mutableListOf<Pair<Boolean, Boolean>>()
        val observer = { state: DemoState -> seen += state.busy to state.canClassify }
        session.observe(observer)
        session.test()
        assertEquals(listOf(true to false, true to false), seen)
        waiting.removeFirst().run()
        assertEquals(false to true, seen.last())
        session.classify { png(200) }
        assertEquals(true to false, seen.last())
        waiting.removeFirst().run()
        assertEquals(false to true, seen.last())
        val before = seen.size
        session.forget(observer)
        session.test()
        assertEquals(before, seen.size)
    }

    @Test
    fun `a picture that comes while the self-test runs waits for it`() {
        val session = session(worker = { waiting += it })
        session.test()
        session.classify { png(200) }
        assertSame(Shown.None, session.state.shown)
        while (waiting.isNotEmpty()) waiting.removeFirst().run()
        assertEquals("bright", session.answer().ranked.first().label)
    }

    @Test
    fun `before the bundle is opened nothing is known of it`() {
        assertNull(session().state.manifest)
    }
}
