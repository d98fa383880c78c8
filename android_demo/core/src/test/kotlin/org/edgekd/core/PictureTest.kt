package org.edgekd.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource

class PictureTest {
    /** EXIF's table, applied by hand to the stored rows "1 2 3" and "4 5 6". */
    @ParameterizedTest
    @CsvSource(
        "1, 123 456", // the row on top is the top, the first column the left
        "2, 321 654", // the first column is the right
        "3, 654 321", // the row on top is the bottom, the first column the right
        "4, 456 123", // the row on top is the bottom
        "5, 14 25 36", // the row on top is the left, the first column the top
        "6, 41 52 63", // the row on top is the right, the first column the top
        "7, 63 52 41", // the row on top is the right, the first column the bottom
        "8, 36 25 14", // the row on top is the left, the first column the bottom
        "0, 123 456",
        "9, 123 456",
    )
    fun `turned as the EXIF orientation says`(orientation: Int, expected: String) {
        assertEquals(expected, rows(grey(3, 2, 1, 2, 3, 4, 5, 6).upright(orientation)))
    }

    @Test
    fun `a centred square starts at half of what is left over, rounded down`() {
        assertEquals("23 67", rows(grey(4, 2, 1, 2, 3, 4, 5, 6, 7, 8).centerSquare()))
        assertEquals("12 45", rows(grey(3, 2, 1, 2, 3, 4, 5, 6).centerSquare()))
        assertEquals("2", rows(grey(1, 4, 1, 2, 3, 4).centerSquare()))
    }

    @Test
    fun `a turned picture is cropped as it is looked at`() {
        val stored = grey(4, 2, 1, 2, 3, 4, 5, 6, 7, 8)
        assertEquals("62 73", rows(stored.upright(6).centerSquare()))
    }

    @Test
    fun `what is empty or too large is refused`() {
        refused<EmptyImage>("the picture is empty: 0 x 5 pixels") { Picture(0, 5, IntArray(0)) }
        refused<ImageTooLarge>("the picture is too large: 10000 x 10000 pixels; scale it down") {
            Picture(10_000, 10_000, IntArray(0))
        }
        refused<ImageTooLarge>("the picture is too large: 2147483647 x 2147483647 pixels; scale it down") {
            Picture(Int.MAX_VALUE, Int.MAX_VALUE, IntArray(0))
        }
    }

    private fun rows(picture: Picture) = List(picture.height) { y ->
        IntArray(3 * picture.width).also { picture.readRow(y, it) }.filterIndexed { i, _ -> i % 3 == 1 }.joinToString("")
    }.joinToString(" ")
}
