package org.edgekd.core

import kotlinx.serialization.Serializable

/** The phone, as it names itself. */
@Serializable
data class Device(
    val manufacturer: String,
    val model: String,
    val abi: String,
    val androidVersion: String,
    val apiLevel: Int,
)

/** A benchmark on a device; the JSON that `edgekd report` reads in as a device row. */
@Serializable
data class BenchmarkReport(
    val schemaVersion: Int = 1,
    val kind: String = "device_benchmark",
    val recipe: String,
    val modelSha256: String,
    val device: Device,
    val runtime: String,
    val kernel: String,
    val numThreads: Int,
    val warmupRuns: Int,
    val numRuns: Int,
    /** One process says nothing of others: the figures carry no interval. */
    val numProcesses: Int = 1,
    /** Opening the model, up to its first inference. */
    val initMs: Double,
    val pictureWidth: Int,
    val pictureHeight: Int,
    val preprocessing: LatencyStats,
    val invoke: LatencyStats,
) {
    fun toJson(): String = json.encodeToString(serializer(), this) + "\n"
}

const val WARMUP_RUNS = 20
const val NUM_RUNS = 200

/**
 * Time preprocessing and inference apart, [NUM_RUNS] times after [WARMUP_RUNS] that do not count.
 *
 * @param clock a monotonic clock in nanoseconds.
 */
fun benchmark(
    classifier: VerifiedClassifier,
    picture: Picture,
    device: Device,
    runtime: String,
    clock: () -> Long = System::nanoTime,
): BenchmarkReport {
    val preprocessing = LongArray(WARMUP_RUNS + NUM_RUNS)
    val invoke = LongArray(WARMUP_RUNS + NUM_RUNS)
    for (run in invoke.indices) {
        val start = clock()
        val tensor = classifier.preprocess(picture)
        val ready = clock()
        classifier.probs(tensor)
        val end = clock()
        preprocessing[run] = ready - start
        invoke[run] = end - ready
    }
    fun stats(nanos: LongArray) = LatencyStats.of(nanos.copyOfRange(WARMUP_RUNS, nanos.size))
    val manifest = classifier.bundle.manifest
    return BenchmarkReport(
        recipe = manifest.recipe,
        modelSha256 = sha256(classifier.bundle.model),
        device = device,
        runtime = runtime,
        kernel = classifier.settings.kernel,
        numThreads = classifier.settings.numThreads,
        warmupRuns = WARMUP_RUNS,
        numRuns = NUM_RUNS,
        initMs = classifier.initMs,
        pictureWidth = picture.width,
        pictureHeight = picture.height,
        preprocessing = stats(preprocessing),
        invoke = stats(invoke),
    )
}
