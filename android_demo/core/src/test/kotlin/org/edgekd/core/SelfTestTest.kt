package org.edgekd.core

import org.edgekd.core.Check.Kind
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class SelfTestTest {
    @Test
    fun `a right device passes everything`() {
        val report = selfTest(opened(), FakeDecoder)
        assertEquals(
            listOf(
                Check(Kind.ANSWER, "golden/input_00.bin", true),
                Check(Kind.FLIPPED_SIGN, "golden/input_00.bin", true),
                Check(Kind.PREPROCESSING, "golden/image_0.png", true),
            ),
            report.checks,
        )
        assertTrue(report.passed && report.millis > 0)
        report.admit()
    }

    @Test
    fun `the tolerance is on both sides of the envelope, and ends there`() {
        // low 0.79 and high 0.21 with 2/256 = 0.0078: 0.7825 is inside, 0.782 is not.
        assertEquals(emptyList<Kind>(), failures { floatArrayOf(0.7825f, 0.2175f) })
        assertEquals(listOf(Kind.ANSWER), failures { floatArrayOf(0.782f, 0.218f) })
        assertEquals(listOf(Kind.ANSWER), failures { floatArrayOf(0.8f, 0.218f) })
        assertEquals(listOf(Kind.ANSWER), failures { floatArrayOf(Float.NaN, 0.2f) })
        assertEquals(listOf(Kind.ANSWER), failures { floatArrayOf(0.8f, 0.2f, 0f) })
    }

    @Test
    fun `another class fails where the golden is decisive`() {
        val wide = GOLDEN.replace("[0.79, 0.19]", "[0, 0]").replace("[0.81, 0.21]", "[1, 1]")
            .replace("\"fails_with_flipped_sign\": true", "\"fails_with_flipped_sign\": false")
        val other: (ByteArray) -> FloatArray = { floatArrayOf(0.4f, 0.6f) }
        assertEquals(listOf(Kind.ANSWER), failures(bundled(GOLDEN_FILE to wide.toByteArray()), other))
        val undecided = wide.replace("\"decisive\": true", "\"decisive\": false")
        assertEquals(emptyList<Kind>(), failures(bundled(GOLDEN_FILE to undecided.toByteArray()), other))
    }

    @Test
    fun `taking uint8 for int8 fails`() {
        val mixedUp = FakeEngine { tensor -> bright(ByteArray(tensor.size) { (tensor[it].toInt() xor 0x80).toByte() }) }
        val report = selfTest(opened(engine = mixedUp), FakeDecoder)
        assertEquals(listOf(Kind.ANSWER, Kind.FLIPPED_SIGN), report.checks.filter { !it.passed }.map { it.kind })
    }

    @Test
    fun `a model that does not look at its input fails`() {
        // Right for the golden input, but right for its opposite too.
        val report = selfTest(opened(engine = FakeEngine { floatArrayOf(0.8f, 0.2f) }), FakeDecoder)
        assertEquals(listOf(Kind.FLIPPED_SIGN), report.checks.filter { !it.passed }.map { it.kind })
    }

    @Test
    fun `a decoder that changes one value by one fails`() {
        val brighter = PixelDecoder { Decoded(grey(2, 2, 0, 50, 100, 151), 1) }
        val report = selfTest(opened(), brighter)
        assertEquals(listOf(Kind.PREPROCESSING), report.checks.filter { !it.passed }.map { it.kind })
        refused<SelfTestFailed>("1 of 3 checks of the self-test failed; this device must not classify with this model") {
            report.admit()
        }
    }

    @Test
    fun `a bundle without goldens, or with broken ones, proves nothing`() {
        for (golden in listOf("{\"vectors\": [], \"pictures\": []}", "[]", GOLDEN.replace("input_00", "input_01"))) {
            assertThrows<BrokenManifest> { selfTest(opened(bundled(GOLDEN_FILE to golden.toByteArray())), FakeDecoder) }
        }
        val message = "the bundle cannot be read: golden/input_00.bin is not 2 x 2 x 3 bytes long; build it again"
        refused<BrokenManifest>(message) {
            selfTest(opened(bundled("golden/input_00.bin" to ByteArray(11))), FakeDecoder)
        }
    }

    /** With an engine that gives [answer] to the golden input and something else to all others. */
    private fun failures(files: FakeFiles = bundled(), answer: (ByteArray) -> FloatArray): List<Kind> {
        val engine = FakeEngine { if (it.contentEquals(INPUT)) answer(it) else floatArrayOf(0f, 1f) }
        return selfTest(opened(files, engine), FakeDecoder).checks.filter { !it.passed }.map { it.kind }
    }

    private companion object {
        const val GOLDEN_FILE = "golden/golden.json"
    }
}
