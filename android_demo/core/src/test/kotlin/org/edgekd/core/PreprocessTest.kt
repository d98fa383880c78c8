package org.edgekd.core

import java.io.File
import java.nio.ByteBuffer
import java.util.Base64
import kotlinx.serialization.Serializable
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

/** Against what Pillow itself made, in the file that Python's tests read too; the file says how it is to be read. */
class PreprocessTest {
    @Serializable
    class Goldens(val cases: List<Case>, val overBlack: OverBlack)

    @Serializable
    class OverBlack(val width: Int, val height: Int, val sha256: String)

    @Serializable
    class Case(
        val width: Int,
        val height: Int,
        val pixels: String,
        val orientation: Int,
        val resize: String,
        val size: Int,
        val sha256: String,
        val expected: String? = null,
    ) {
        override fun toString() = "$width x $height, orientation $orientation, $resize to $size, " +
            if (pixels == FORMULA) FORMULA else "noise"
    }

    private val goldens = json.decodeFromString<Goldens>(File("../../tests/golden/preprocess.json").readText())

    @TestFactory
    fun `as Pillow does it, bit for bit`(): List<DynamicTest> = goldens.cases.map { case ->
        dynamicTest("$case") {
            val rule = PreprocessingRule(case.resize, case.size, "pillow-bilinear", exifRotation = true)
            val found = preprocess(stored(case).upright(case.orientation), rule)
            case.expected?.let { assertArrayEquals(Base64.getDecoder().decode(it), found) }
            assertEquals(case.sha256, sha256(ByteBuffer.wrap(found)))
        }
    }

    @Test
    fun `the goldens cover every orientation, both rules, shrinking and enlarging`() {
        assertTrue(goldens.cases.size >= 60)
        assertEquals((1..8).toSet(), goldens.cases.map { it.orientation }.toSet())
        assertEquals(setOf("stretch", "center_crop"), goldens.cases.map { it.resize }.toSet())
        assertTrue(goldens.cases.any { it.size > it.width } && goldens.cases.any { it.size < it.width })
    }

    @Test
    fun `transparency is laid over black, every value under every alpha`() {
        val (width, height) = goldens.overBlack.width to goldens.overBlack.height
        val pixels = IntArray(width * height) { (it % width) * 0x010101 or (it / width shl 24) }
        val found = resize(Picture(width, height, pixels), width, height)
        assertEquals(goldens.overBlack.sha256, sha256(ByteBuffer.wrap(found)))
    }

    @Test
    fun `halving by hand`() {
        // Weights 3, 3, 1 over 7, see test_preprocessing.py: 80 / 7 = 11.4 and 80 * 6 / 7 = 68.6.
        val row = grey(4, 4, *IntArray(16) { if (it % 4 < 2) 0 else 80 })
        assertEquals(listOf(11, 69, 11, 69), resize(row, 2, 2).toList().chunked(3) { it[0].toInt() })
    }

    private fun stored(case: Case): Picture {
        val rgb = if (case.pixels == FORMULA) formula(case) else Base64.getDecoder().decode(case.pixels)
        return Picture(case.width, case.height, IntArray(case.width * case.height) {
            (0..2).sumOf { c -> (rgb[3 * it + c].toInt() and 0xFF) shl (8 * c) } or (0xFF shl 24)
        })
    }

    private fun formula(case: Case) = ByteArray(3 * case.width * case.height) {
        val (x, y, c) = Triple(it / 3 % case.width, it / 3 / case.width, it % 3)
        ((((3 * x * x + 5 * y * y + 7 * x * y * (c + 1)) shr 4) + 85 * c) and 0xFF).toByte()
    }

    private companion object {
        const val FORMULA = "formula"
    }
}
