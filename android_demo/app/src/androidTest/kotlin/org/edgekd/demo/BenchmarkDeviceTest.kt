package org.edgekd.demo

import java.io.File
import org.edgekd.core.Bundle
import org.edgekd.core.Classifier
import org.edgekd.core.EngineSettings
import org.edgekd.core.benchmark
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Runs on a phone: times the model and leaves the results where the app would. */
class BenchmarkDeviceTest {
    @Test
    fun everyNumberOfThreadsIsTimedAndStored() {
        for (numThreads in THREADS) {
            val settings = EngineSettings(numThreads)
            Classifier.open(Bundle.open(phone.files), settings, engines = phone.engines).use { classifier ->
                val picture = madePicture(BENCHMARK_WIDTH, BENCHMARK_HEIGHT)
                val report = benchmark(test(classifier).admit(), picture, phone.device(), phone.runtime())
                val path = phone.store(fileName(report), report.toJson())
                check(JSONObject(File(path).readText()), numThreads)
            }
        }
    }

    private fun check(result: JSONObject, numThreads: Int) {
        assertEquals("xnnpack", result.getString("kernel"))
        assertEquals(numThreads, result.getInt("num_threads"))
        assertEquals(200, result.getInt("num_runs"))
        assertEquals(20, result.getInt("warmup_runs"))
        for (part in listOf("preprocessing", "invoke")) {
            val (p50, p90, p99) = listOf("p50_ms", "p90_ms", "p99_ms").map { result.getJSONObject(part).getDouble(it) }
            assertTrue("$part: $p50, $p90, $p99 ms", 0 < p50 && p50 <= p90 && p90 <= p99)
        }
        assertTrue(result.getJSONObject("device").getString("model").isNotEmpty())
    }
}
