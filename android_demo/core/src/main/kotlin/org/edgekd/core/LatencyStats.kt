package org.edgekd.core

import kotlin.math.ceil
import kotlinx.serialization.Serializable

/** Percentiles of durations in milliseconds, by nearest rank: the smallest value with at least p % at or below it. */
@Serializable
data class LatencyStats(val p50Ms: Double, val p90Ms: Double, val p99Ms: Double) {
    companion object {
        fun of(nanos: LongArray): LatencyStats {
            require(nanos.isNotEmpty())
            val sorted = nanos.sortedArray()
            fun percentile(p: Int) = sorted[ceil(p / 100.0 * sorted.size).toInt() - 1] / 1e6
            return LatencyStats(percentile(50), percentile(90), percentile(99))
        }
    }
}
