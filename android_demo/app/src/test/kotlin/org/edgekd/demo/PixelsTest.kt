package org.edgekd.demo

import org.edgekd.core.Picture
import org.edgekd.core.PreprocessingRule
import org.edgekd.core.preprocess
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class PixelsTest {
    private val red = byteArrayOf(255.toByte(), 1, 2)

    @Test
    fun `bytes become opaque integers in the order that bitmaps take`() {
        assertArrayEquals(intArrayOf(0xFFFF0102.toInt()), Pixels.of(red, 1, 1).argb)
    }

    @Test
    fun `a preview keeps the picture's shape, within a screen`() {
        fun size(width: Int, height: Int) =
            Pixels.preview(Picture(width, height, IntArray(width * height))).let { it.width to it.height }
        assertEquals(720 to 540, size(1440, 1080))
        assertEquals(360 to 720, size(720, 1440))
        assertEquals(30 to 20, size(30, 20))
        assertEquals(720 to 1, size(2000, 1))
    }

    @Test
    fun `the made picture is opaque and the same each time`() {
        val rule = PreprocessingRule("stretch", 3, "pillow-bilinear", exifRotation = true)
        val (one, other) = List(2) { preprocess(madePicture(30, 20), rule) }
        assertArrayEquals(one, other)
        assertEquals(9, one.toList().chunked(3).toSet().size) // nothing repeats
    }
}
