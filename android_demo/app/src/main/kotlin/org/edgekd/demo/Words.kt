package org.edgekd.demo

import android.content.res.Resources
import java.util.Locale
import org.edgekd.core.Answer
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

/** What stands above the classes of an answer: the findings, or that no class is certain enough; else nothing. */
fun Resources.verdict(answer: Answer, manifest: Manifest): String {
    val decision = manifest.decision
    val findings = answer.findings
    return when {
        decision != null && findings != null && findings.isEmpty() ->
            getString(R.string.no_findings, percent(decision.threshold))
        decision != null && findings != null ->
            getString(R.string.findings, percent(decision.threshold), findings.joinToString { it.label })
        answer.lowConfidence -> getString(R.string.low_confidence, percent(manifest.minConfidence))
        else -> ""
    }
}

/** What the bundle says of itself. */
fun Resources.about(manifest: Manifest): String {
    val figures = manifest.figures
    val measured = listOfNotNull(
        figures.top1?.let { getString(R.string.figure_top1, percent(it)) },
        figures.labelAccuracy?.let { getString(R.string.figure_label_accuracy, percent(it)) },
        figures.auc?.let { getString(R.string.figure_auc, String.format(locale, "%.3f", it)) },
    )
    val decision = manifest.decision
    return listOf(
        getString(
            R.string.about_model,
            manifest.recipe,
            manifest.edgekdVersion,
            manifest.labels.joinToString(),
            manifest.preprocessing.size,
        ),
        getString(R.string.about_figures, figures.dataset, figures.split, figures.n, measured.joinToString()),
        when {
            decision != null -> getString(R.string.about_findings, percent(decision.threshold))
            manifest.minConfidence > 0 -> getString(R.string.about_threshold, percent(manifest.minConfidence))
            else -> getString(R.string.about_no_threshold)
        },
        with(manifest.data) {
            getString(R.string.about_data, name, licence.ifEmpty { getString(R.string.not_stated) }, source, attribution)
        }.trim(),
    ).joinToString("\n\n")
}
