package org.edgekd.core

import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class BenchmarkTest {
    private val device = Device("Maker", "Phone", "arm64-v8a", "15", 35)

    @Test
    fun `preprocessing and inference are timed apart, and the warm-up does not count`() {
        var runs = 0
        var now = 0L
        // Run k takes k ms for the model, 1,000 ms while warming up; preprocessing always takes 2 ms.
        val engine = FakeEngine { tensor ->
            runs++
            now += if (runs <= WARMUP_RUNS) 1_000_000_000L else (runs - WARMUP_RUNS) * 1_000_000L
            bright(tensor)
        }
        val classifier = selfTest(opened(engine = engine), FakeDecoder).admit()
        runs = 0
        var readings = 0
        val clock = { if (readings++ % 3 == 1) now += 2_000_000; now }
        val report = benchmark(classifier, grey(5, 3, *IntArray(15)), device, "LiteRT 1.4.1", clock)
        assertEquals(220, runs)
        assertEquals(LatencyStats(2.0, 2.0, 2.0), report.preprocessing)
        assertEquals(LatencyStats(100.0, 180.0, 198.0), report.invoke)
    }

    @Test
    fun `opening the model is timed, and one process is said to be one`() {
        var now = 0L
        val classifier = Classifier.open(Bundle.open(bundled()), EngineSettings(), { now }) { _, _ ->
            FakeEngine().also { now += 30_000_000 }
        }
        val report = benchmark(selfTest(classifier, FakeDecoder).admit(), grey(1, 1, 9), device, "LiteRT 1.4.1")
        assertEquals(30.0, report.initMs)
        assertEquals(1, report.numProcesses)
    }

    @Test
    fun `the report is JSON in edgekd's names`() {
        val report = benchmark(selfTest(opened(), FakeDecoder).admit(), grey(1, 1, 9), device, "LiteRT 1.4.1")
        val found = json.parseToJsonElement(report.toJson()).jsonObject
        assertEquals(
            setOf(
                "schema_version", "kind", "recipe", "model_sha256", "device", "runtime", "kernel", "num_threads",
                "warmup_runs", "num_runs", "num_processes", "init_ms", "picture_width", "picture_height", "preprocessing", "invoke",
            ),
            found.keys,
        )
        assertEquals("device_benchmark", found.getValue("kind").jsonPrimitive.content)
        assertEquals("xnnpack", found.getValue("kernel").jsonPrimitive.content)
        assertEquals(sha256(Bundle.open(bundled()).model), found.getValue("model_sha256").jsonPrimitive.content)
        assertEquals(
            setOf("manufacturer", "model", "abi", "android_version", "api_level"),
            found.getValue("device").jsonObject.keys,
        )
        assertEquals(setOf("p50_ms", "p90_ms", "p99_ms"), found.getValue("invoke").jsonObject.keys)
    }
}
