package org.edgekd.demo

import java.util.Locale
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class NumbersTest {
    @Test
    fun `percents have one decimal, in the reader's own writing`() {
        assertEquals("93.4 %", percent(0.93412, Locale.ENGLISH))
        assertEquals("93,4 %", percent(0.93412, Locale.GERMAN))
        assertEquals("100.0 %", percent(1.0, Locale.ENGLISH))
    }

    @Test
    fun `no probability is shown as certain`() {
        assertEquals("> 99.9 %", probability(0.99996, Locale.ENGLISH))
        assertEquals("> 99.9 %", probability(1.0, Locale.ENGLISH))
        assertEquals("< 0.1 %", probability(0.0, Locale.ENGLISH))
        assertEquals("99.9 %", probability(0.9994, Locale.ENGLISH))
        assertEquals("0.1 %", probability(0.0006, Locale.ENGLISH))
    }

    @Test
    fun `durations have three digits that count`() {
        val written = listOf(0.0314, 0.9994, 0.9996, 9.994, 9.996, 99.94, 99.96, 1234.5).map { millis(it, Locale.ENGLISH) }
        assertEquals(
            listOf("0.031 ms", "0.999 ms", "1.00 ms", "9.99 ms", "10.0 ms", "99.9 ms", "100 ms", "1235 ms"),
            written,
        )
    }
}
