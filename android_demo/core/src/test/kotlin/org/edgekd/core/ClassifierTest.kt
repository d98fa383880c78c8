package org.edgekd.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class ClassifierTest {
    @Test
    fun `the most probable classes first, of equal ones the first, no more than there are`() {
        val labels = listOf("a", "b", "c", "d")
        val probs = floatArrayOf(0.25f, 0.3f, 0.25f, 0.2f)
        assertEquals(listOf("b", "a", "c"), topK(probs, labels, 3).map { it.label })
        assertEquals(listOf(0.3f, 0.25f, 0.25f, 0.2f), topK(probs, labels, 9).map { it.prob })
        assertEquals(1, argmax(floatArrayOf(0.1f, 0.45f, 0.45f)))
    }

    @Test
    fun `a picture goes through preprocessing and the model, and a weak answer says so`() {
        val classifier = selfTest(opened(), FakeDecoder).admit()
        // Grey of 204: mean 204 / 255 = 0.8; of 128: 0.502, below the bundle's 0.6.
        val sure = classifier.classify(grey(3, 1, 204, 204, 204))
        assertEquals(listOf(Ranked("bright", 0.8f), Ranked("dark", 0.2f)), sure.ranked)
        assertEquals(false, sure.lowConfidence)
        assertEquals(true, classifier.classify(grey(1, 1, 128)).lowConfidence)
        assertEquals(1, classifier.classify(grey(1, 1, 128), count = 1).ranked.size)
    }

    @Test
    fun `independent labels are found above the threshold, all, one or none of them`() {
        // Of the golden input, whose mean is 51, the answer that passes; of others each label has its own brightness.
        val engine = FakeEngine { tensor ->
            if (tensor.contentEquals(INPUT)) floatArrayOf(0.8f, 0.2f) else FloatArray(2) { (tensor[it].toInt() and 0xFF) / 255f }
        }
        val classifier = selfTest(opened(bundled(manifest = ::multiLabel), engine), FakeDecoder).admit()
        fun found(red: Int, green: Int) = classifier.classify(
            ByteArray(3 * SIZE * SIZE).also {
                it[0] = red.toByte()
                it[1] = green.toByte()
            },
            count = 1,
        )
        assertEquals(listOf("bright", "dark"), found(200, 255).findings?.map { it.label })
        assertEquals(2, found(200, 255).ranked.size) // every finding is named, whatever count says
        assertEquals(listOf("dark"), found(128, 127).findings?.map { it.label }) // 0.502, and 0.498
        assertEquals(emptyList<Ranked>(), found(127, 0).findings)
        assertEquals(listOf("dark"), found(127, 0).ranked.map { it.label })
        assertEquals(false, found(127, 0).lowConfidence)
    }

    @Test
    fun `where one class is the answer there are no findings`() {
        assertEquals(null, selfTest(opened(), FakeDecoder).admit().classify(grey(1, 1, 128)).findings)
    }

    @Test
    fun `a model of another input is refused, and its engine closed`() {
        val pixels = FakeEngine().input
        for (other in listOf(
            pixels.copy(dtype = "int8"),
            pixels.copy(dtype = "float32", scale = 0.0),
            pixels.copy(shape = listOf(1, 3, 2, 2)),
            pixels.copy(shape = emptyList()),
            pixels.copy(scale = 0.851),
            pixels.copy(zeroPoint = 128),
        )) {
            val engine = FakeEngine(input = other)
            val message = assertThrows<WrongTensor> { opened(engine = engine) }.message
            assertEquals(
                "the manifest says that the model's input is uint8 [1, 2, 2, 3], scale 1.0, zero point 0, " +
                    "the model says $other; build the bundle again",
                message,
            )
            assertTrue(engine.closed)
        }
        opened(engine = FakeEngine(input = pixels.copy(name = "serving_default_pixels:0")))
    }

    @Test
    fun `a model of another output is refused`() {
        refused<LabelCount>("2 labels for a model that gives 3 values; build the bundle again") {
            opened(engine = FakeEngine(output = TensorSpec("probs", listOf(1, 3), "float32")))
        }
        refused<LabelCount>("2 labels for a model that gives 0 values; build the bundle again") {
            opened(engine = FakeEngine(output = TensorSpec("probs", emptyList(), "float32")))
        }
        refused<WrongTensor>(
            "the manifest says that the model's output is float32 [1, 2], the model says int8 [1, 2], " +
                "scale 0.5, zero point -3; build the bundle again",
        ) {
            opened(engine = FakeEngine(output = TensorSpec("logits", listOf(1, 2), "int8", 0.5, -3)))
        }
    }

    @Test
    fun `closing reaches the engine`() {
        val engine = FakeEngine()
        selfTest(opened(engine = engine), FakeDecoder).admit().close()
        assertTrue(engine.closed)
    }
}
