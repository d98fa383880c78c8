package org.edgekd.demo

import java.io.IOException
import java.util.concurrent.Executor
import org.edgekd.core.BenchmarkReport
import org.edgekd.core.Bundle
import org.edgekd.core.BundleFiles
import org.edgekd.core.Classifier
import org.edgekd.core.Device
import org.edgekd.core.EdgekdException
import org.edgekd.core.EngineFactory
import org.edgekd.core.EngineSettings
import org.edgekd.core.ImageTooLarge
import org.edgekd.core.PixelDecoder
import org.edgekd.core.VerifiedClassifier
import org.edgekd.core.benchmark
import org.edgekd.core.picture
import org.edgekd.core.selfTest

/** Width and height of the made picture that the benchmark prepares. */
const val BENCHMARK_WIDTH = 1024
const val BENCHMARK_HEIGHT = 768

/** The phone, as far as a session needs to know it. */
class Platform(
    val files: BundleFiles,
    val engines: EngineFactory,
    val decoder: PixelDecoder,
    val device: () -> Device,
    val runtime: () -> String,
    /** Keeps a benchmark's JSON under a name and says where; throws [IOException]. */
    val store: (name: String, json: String) -> String,
)

/**
 * What goes on in the app, whatever screen shows it. Lives as long as the process, so that turning the phone loses
 * nothing.
 *
 * Work is done by [worker], one job after the other; [state] changes, and is read, on [ui] alone.
 *
 * @param worker a single thread: an engine is not safe for several.
 */
class Session(private val platform: Platform, private val worker: Executor, private val ui: Executor) {
    var state = DemoState()
        private set

    private val observers = mutableListOf<(DemoState) -> Unit>()

    /** The worker's: what passed the self-test last, or null. */
    private var verified: VerifiedClassifier? = null

    /** Call [observer] now and after every change. */
    fun observe(observer: (DemoState) -> Unit) {
        observers += observer
        observer(state)
    }

    fun forget(observer: (DemoState) -> Unit) {
        observers -= observer
    }

    /** Open the bundle and the model anew and run the self-test; until it has passed, nothing is classified. */
    fun test(settings: EngineSettings = state.settings) {
        accept(Event.Test(settings))
        work({ Event.Tested(Gate.Broken(it)) }) {
            verified?.close()
            verified = null
            val bundle = Bundle.open(platform.files)
            ui.execute { accept(Event.Opened(bundle.manifest)) }
            Event.Tested(admit(Classifier.open(bundle, settings, engines = platform.engines)))
        }
    }

    private fun admit(classifier: Classifier): Gate {
        try {
            val report = selfTest(classifier, platform.decoder)
            if (!report.passed) return Gate.Failed(report.checks.filter { !it.passed }, report.checks.size)
            verified = report.admit()
            return Gate.Passed(report.checks.size, report.millis)
        } finally {
            if (verified == null) classifier.close()
        }
    }

    /** Classify the picture file whose bytes [read] gives; it is called by the worker. */
    fun classify(read: () -> ByteArray) {
        accept(Event.Show(Shown.Working))
        work({ Event.Show(Shown.Refused(it)) }) {
            Event.Show(verified?.let { classify(it, read()) } ?: Shown.None)
        }
    }

    private fun classify(classifier: VerifiedClassifier, file: ByteArray): Shown {
        val picture = platform.decoder.picture(file)
        val size = classifier.bundle.manifest.preprocessing.size
        val tensor = classifier.preprocess(picture)
        // What is shown as the model's view is what is classified.
        val answer = classifier.classify(tensor)
        val preview = try {
            Pixels.preview(picture)
        } catch (_: OutOfMemoryError) {
            throw ImageTooLarge(picture.width, picture.height)
        }
        return Shown.Classified(preview, Pixels.of(tensor, size, size), answer)
    }

    /** Time the model with these settings, after a self-test if they are new. */
    fun time(settings: EngineSettings) {
        if (settings != state.settings || state.gate !is Gate.Passed) test(settings)
        accept(Event.Time(Timing.Running))
        work({ Event.Time(Timing.Failed(it)) }) {
            val classifier = verified ?: return@work Event.Time(Timing.None)
            ui.execute { accept(Event.Time(Timing.Running)) }
            val picture = madePicture(BENCHMARK_WIDTH, BENCHMARK_HEIGHT)
            val report = benchmark(classifier, picture, platform.device(), platform.runtime())
            Event.Time(Timing.Done(report, store(report)))
        }
    }

    private fun store(report: BenchmarkReport): Stored = try {
        Stored.In(platform.store(fileName(report), report.toJson()))
    } catch (error: IOException) {
        Stored.Nowhere(error.message ?: error.toString())
    }

    /** Run [job] on the worker; what it throws in words becomes the event that [failed] makes of them. */
    private fun work(failed: (String) -> Event, job: () -> Event) = worker.execute {
        val event = try {
            job()
        } catch (error: EdgekdException) {
            failed(error.message.orEmpty())
        }
        ui.execute { accept(event) }
    }

    private fun accept(event: Event) {
        state = state.after(event)
        observers.toList().forEach { it(state) }
    }
}

/** A name that every file system takes, and that tells results of several devices and settings apart. */
fun fileName(report: BenchmarkReport): String {
    val parts = listOf(
        "edgekd",
        report.recipe,
        report.device.manufacturer,
        report.device.model,
        report.device.abi,
        report.kernel,
        "${report.numThreads}t",
    )
    return parts.joinToString("-") { it.lowercase().replace(Regex("[^a-z0-9_.-]+"), "_") } + ".json"
}
