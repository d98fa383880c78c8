package org.edgekd.core

import java.nio.ByteBuffer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.assertThrows

/** Side of the model's square in these tests. */
const val SIZE = 2

/** A bundle in memory. [change] its content, or leave it for the manifest to be told: [bundled]. */
class FakeFiles(val content: MutableMap<String, ByteArray>) : BundleFiles {
    override fun names(): Set<String> = content.keys

    override fun open(name: String): ByteBuffer = ByteBuffer.wrap(content.getValue(name))

    fun change(name: String, text: String): FakeFiles = apply { content[name] = text.toByteArray() }
}

/** A picture file that [FakeDecoder] reads: a PNG of signature, IHDR and IEND alone. */
fun emptyPng(width: Int = SIZE, height: Int = SIZE, bits: Int = 8): ByteArray =
    byteArrayOf(0x89.toByte(), 'P'.code.toByte(), 'N'.code.toByte(), 'G'.code.toByte(), 13, 10, 26, 10) +
        chunk("IHDR", int32(width) + int32(height) + byteArrayOf(bits.toByte(), 2, 0, 0, 0)) + chunk("IEND", ByteArray(0))

/** A PNG's chunk; nobody here looks at the checksum. */
fun chunk(type: String, content: ByteArray): ByteArray =
    int32(content.size) + type.toByteArray(Charsets.US_ASCII) + content + ByteArray(4)

fun int32(value: Int): ByteArray = ByteBuffer.allocate(4).putInt(value).array()

/** Grey pixels 0, 50, 100, 150, whatever the file. */
object FakeDecoder : PixelDecoder {
    override fun decode(bytes: ByteArray): Decoded = Decoded(grey(2, 2, 0, 50, 100, 150), 1)
}

fun grey(width: Int, height: Int, vararg values: Int): Picture =
    Picture(width, height, values.map { it * 0x010101 or (0xFF shl 24) }.toIntArray())

/** Answers with what [probs] makes of the input tensor. */
class FakeEngine(
    override val input: TensorSpec = TensorSpec("pixels", listOf(1, SIZE, SIZE, 3), "uint8", 1.0, 0),
    override val output: TensorSpec = TensorSpec("probs", listOf(1, 2), "float32"),
    private val probs: (ByteArray) -> FloatArray = { bright(it) },
) : InferenceEngine {
    var closed = false

    override fun run(tensor: ByteArray): FloatArray = probs(tensor)

    override fun close() {
        closed = true
    }
}

/** The share of brightness: mean over 255. */
fun bright(tensor: ByteArray): FloatArray {
    val mean = tensor.sumOf { it.toInt() and 0xFF } / 255.0 / tensor.size
    return floatArrayOf((1 - mean).toFloat(), mean.toFloat())
}

/** The golden answer to [INPUT], whose mean is 51: probabilities 0.8 and 0.2, known to 0.01. */
const val GOLDEN = """{"vectors": [{"input": "golden/input_00.bin", "low": [0.79, 0.19], "high": [0.81, 0.21], "top1": 0,
    "margin": 0.58, "decisive": true, "fails_with_flipped_sign": true}],
    "pictures": [{"picture": "golden/image_0.png", "width": 2, "height": 2, "tensor": "golden/image_0.bin"}]}"""

val INPUT = ByteArray(3 * SIZE * SIZE) { 51 }

/** What preprocessing must make of [FakeDecoder]'s picture: the same. */
val TENSOR = byteArrayOf(0, 0, 0, 50, 50, 50, 100, 100, 100, 150.toByte(), 150.toByte(), 150.toByte())

/** A bundle that passes with [FakeEngine]; [changes] replace files, null leaves one out, before the manifest is written. */
fun bundled(vararg changes: Pair<String, ByteArray?>, manifest: (String) -> String = { it }): FakeFiles {
    val files = mutableMapOf<String, ByteArray?>(
        MODEL_FILE to byteArrayOf(1, 2, 3),
        LABELS_FILE to "dark\nbright\n".toByteArray(),
        "golden/golden.json" to GOLDEN.toByteArray(),
        "golden/input_00.bin" to INPUT,
        "golden/image_0.png" to emptyPng(),
        "golden/image_0.bin" to TENSOR,
    )
    files += changes
    val content = files.filterValues { it != null }.mapValues { it.value!! }.toMutableMap()
    content[MANIFEST_FILE] = manifest(manifestText(content)).toByteArray()
    return FakeFiles(content)
}

/** A manifest as edgekd writes it, and fields of a later edgekd. */
fun manifestText(files: Map<String, ByteArray> = emptyMap()): String = """{
    "schema_version": 1, "edgekd_version": "0.1.0", "recipe": "quickstart", "intended_use": "Demonstration only.",
    "input": {"name": "pixels", "shape": [1, 2, 2, 3], "dtype": "uint8", "scale": 1.0, "zero_point": 0,
              "colour_order": "RGB", "range": [0, 255]},
    "output": {"name": "probs", "shape": [1, 2], "dtype": "float32", "meaning": "probabilities"},
    "preprocessing": {"exif_rotation": true, "resize": "stretch", "filter": "pillow-bilinear", "size": 2},
    "labels": ["dark", "bright"], "min_confidence": 0.6, "tolerance": 0.0078125,
    "figures": {"dataset": "drawn", "split": "test", "n": 10, "top1": 0.9, "auc": null, "tflite_bytes": 3},
    "data": {"name": "drawn", "licence": "Apache-2.0", "source": "drawn", "attribution": "", "sha256": "00"},
    "weights": [{"licence": "Apache-2.0"}], "golden_source": "made",
    "golden": "golden/golden.json",
    "files": [${files.entries.joinToString { (name, bytes) ->
    """{"path": "$name", "sha256": "${sha256(ByteBuffer.wrap(bytes))}", "bytes": ${bytes.size}}"""
}}]}"""

/** The same manifest of a model whose labels are independent of each other, found above one half. */
fun multiLabel(text: String): String = text
    .replace("\"labels\"", "\"task\": \"multi-label\", \"decision\": {\"threshold\": 0.5}, \"labels\"")
    .replace("\"min_confidence\": 0.6", "\"min_confidence\": 0.0")
    .replace("\"top1\": 0.9", "\"label_accuracy\": 0.9")

/** Opens a bundle with an engine of one's own. */
fun opened(files: FakeFiles = bundled(), engine: InferenceEngine = FakeEngine()): Classifier =
    Classifier.open(Bundle.open(files), EngineSettings()) { _, _ -> engine }

/** The message of the typed error that [call] must end in. */
inline fun <reified T : EdgekdException> refused(message: String, call: () -> Any?) {
    assertEquals(message, assertThrows<T> { call() }.message)
}
