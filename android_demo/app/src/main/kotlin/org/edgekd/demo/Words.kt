package org.edgekd.demo

import android.content.res.Resources
import java.util.Locale
import org.edgekd.core.BenchmarkReport
import org.edgekd.core.Check
import org.edgekd.core.EngineSettings
import org.edgekd.core.LatencyStats
import org.edgekd.core.Manifest

private val locale: Locale get() = Locale.getDefault()

fun percent(fraction: Double): String = percent(fraction, locale)

fun probability(value: Double): String = probability(value, locale)

fun Resources.engine(settings: EngineSettings): String = engine(settings.kernel, settings.numThreads)

private fun Resources.engine(kernel: String, numThreads: Int): String =
    getQuantityString(R.plurals.engine, numThreads, kernel, numThreads)

/** Where the self-test stands, in one sentence. */
fun Resources.gate(state: DemoState): String = when (val gate = state.gate) {
    Gate.Testing -> getString(R.string.testing)
    is Gate.Passed ->
        getString(R.string.test_passed, gate.checks, millis(gate.millis, locale), engine(state.settings))
    is Gate.Failed -> getString(R.string.test_failed, gate.failures.size, gate.checks)
    is Gate.Broken -> getString(R.string.test_broken, gate.reason)
}

/** What failed, a line each. */
fun Resources.failures(gate: Gate): String =
    (gate as? Gate.Failed)?.failures.orEmpty().joinToString("\n") { getString(failure(it.kind), it.name) }

private fun failure(kind: Check.Kind): Int = when (kind) {
    Check.Kind.ANSWER -> R.string.check_answer
    Check.Kind.FLIPPED_SIGN -> R.string.check_flipped
    Check.Kind.PREPROCESSING -> R.string.check_preprocessing
}

/** The benchmark's figures and where they hold. */
fun Resources.benchmark(timing: Timing): String = when (timing) {
    Timing.None -> ""
    Timing.Running -> getString(R.string.timing)
    is Timing.Failed -> getString(R.string.timing_failed, timing.reason)
    is Timing.Done -> listOf(
        times(R.string.invoke, timing.report.invoke),
        times(R.string.preprocessing, timing.report.preprocessing),
        where(timing.report),
        when (val stored = timing.stored) {
            is Stored.In -> getString(R.string.stored, stored.path)
            is Stored.Nowhere -> getString(R.string.not_stored, stored.reason)
        },
    ).joinToString("\n")
}

private fun Resources.times(what: Int, stats: LatencyStats): String = getString(
    R.string.timing_of,
    getString(what),
    millis(stats.p50Ms, locale),
    millis(stats.p90Ms, locale),
    millis(stats.p99Ms, locale),
)

private fun Resources.where(report: BenchmarkReport): String = with(report.device) {
    val engine = engine(report.kernel, report.numThreads)
    getString(R.string.timed_on, manufacturer, model, androidVersion, abi, "${report.runtime}, $engine")
}

/** What the bundle says of itself. */
fun Resources.about(manifest: Manifest): String {
    val figures = manifest.figures
    val top1 = percent(figures.top1)
    val auc = figures.auc?.let { String.format(locale, "%.3f", it) }
    return listOf(
        getString(
            R.string.about_model,
            manifest.recipe,
            manifest.edgekdVersion,
            manifest.labels.joinToString(),
            manifest.preprocessing.size,
        ),
        if (auc == null) {
            getString(R.string.about_figures, figures.dataset, figures.split, figures.n, top1)
        } else {
            getString(R.string.about_figures_auc, figures.dataset, figures.split, figures.n, top1, auc)
        },
        if (manifest.minConfidence > 0) {
            getString(R.string.about_threshold, percent(manifest.minConfidence))
        } else {
            getString(R.string.about_no_threshold)
        },
        with(manifest.data) {
            getString(R.string.about_data, name, licence.ifEmpty { getString(R.string.not_stated) }, source, attribution)
        }.trim(),
    ).joinToString("\n\n")
}
