package org.edgekd.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class LatencyStatsTest {
    @Test
    fun `nearest rank - of 1 to 200 ms, the 100th, the 180th and the 198th`() {
        val shuffled = LongArray(200) { (it * 77L % 200 + 1) * 1_000_000 }
        assertEquals(LatencyStats(100.0, 180.0, 198.0), LatencyStats.of(shuffled))
    }

    @Test
    fun `one run is every percentile`() = assertEquals(LatencyStats(2.5, 2.5, 2.5), LatencyStats.of(longArrayOf(2_500_000)))

    @Test
    fun `no runs have none`() {
        assertThrows<IllegalArgumentException> { LatencyStats.of(LongArray(0)) }
    }
}
