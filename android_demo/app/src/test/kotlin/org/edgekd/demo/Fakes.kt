package org.edgekd.demo

import java.nio.ByteBuffer
import org.edgekd.core.BundleFiles
import org.edgekd.core.Decoded
import org.edgekd.core.Device
import org.edgekd.core.EngineSettings
import org.edgekd.core.InferenceEngine
import org.edgekd.core.Picture
import org.edgekd.core.PixelDecoder
import org.edgekd.core.TensorSpec
import org.edgekd.core.sha256

/** Side of the fake model's input. */
const val SIDE = 2

/** Says "bright" with the mean of the input's bytes as its probability. */
class FakeEngine(val settings: EngineSettings, private val bias: Float = 0f) : InferenceEngine {
    override val input = TensorSpec("pixels", listOf(1, SIDE, SIDE, 3), "uint8", 1.0, 0)
    override val output = TensorSpec("probs", listOf(1, 2), "float32")
    var closed = false
    val inputs = mutableListOf<List<Byte>>()

    override fun run(tensor: ByteArray): FloatArray {
        check(!closed)
        inputs += tensor.toList()
        val bright = tensor.map { it.toInt() and 0xFF }.average().toFloat() / 255 + bias
        return floatArrayOf(1 - bright, bright)
    }

    override fun close() {
        closed = true
    }
}

/** Decodes what [png] makes; Android's class path has none of the Java platform's decoders. */
val fakeDecoder = PixelDecoder { bytes ->
    val (width, height) = ByteBuffer.wrap(bytes).let { it.getInt(16) to it.getInt(20) }
    val grey = bytes[GREY_AT].toInt() and 0xFF
    Decoded(Picture(width, height, IntArray(width * height) { (0xFF shl 24) or grey * 0x010101 }), orientation = 1)
}

fun grey(value: Int) = ByteArray(SIDE * SIDE * 3) { value.toByte() }

/** The chunks of a PNG file, with a single byte as its compressed data: the grey of all its pixels. */
fun png(grey: Int, width: Int = SIDE, height: Int = SIDE): ByteArray {
    val file = ByteBuffer.allocate(GREY_AT + 17)
    file.putLong(0x89504E470D0A1A0AuL.toLong())
    file.putInt(13).put("IHDR".toByteArray()).putInt(width).putInt(height).put(byteArrayOf(8, 2, 0, 0, 0)).putInt(0)
    file.putInt(1).put("IDAT".toByteArray()).put(grey.toByte()).putInt(0)
    file.putInt(0).put("IEND".toByteArray()).putInt(0)
    return file.array()
}

/** Behind the signature, the header's 25 bytes, and the next chunk's length and name. */
private const val GREY_AT = 8 + 25 + 8

/** A bundle for [FakeEngine]: one golden input of brightness 200, whose sign-flipped self has 72. */
class FakeBundle : BundleFiles {
    private val files = mutableMapOf(
        "model.tflite" to byteArrayOf(1, 2, 3),
        "labels.txt" to "dark\nbright\n".toByteArray(),
        "golden/input.bin" to grey(200),
        "golden/image.png" to png(90),
        "golden/image.bin" to grey(90),
        "golden/golden.json" to """
            {"vectors": [{"input": "golden/input.bin", "low": [0.21, 0.78], "high": [0.22, 0.79], "top1": 1,
                          "decisive": true, "fails_with_flipped_sign": true}],
             "pictures": [{"picture": "golden/image.png", "tensor": "golden/image.bin"}]}
        """.toByteArray(),
    )

    init {
        sign()
    }

    /** The manifest, with the digests of the files as they are now. */
    private fun sign() {
        val rows = files.filterKeys { it != "edgekd_manifest.json" }.map { (name, content) ->
            """{"path": "$name", "sha256": "${sha256(ByteBuffer.wrap(content))}", "bytes": ${content.size}}"""
        }
        files["edgekd_manifest.json"] = """
            {"schema_version": 1, "edgekd_version": "0.1.0", "recipe": "my recipe", "intended_use": "For trying out.",
             "input": {"name": "pixels", "shape": [1, 2, 2, 3], "dtype": "uint8", "scale": 1.0, "zero_point": 0},
             "output": {"name": "probs", "shape": [1, 2], "dtype": "float32"},
             "preprocessing": {"resize": "stretch", "size": 2, "filter": "pillow-bilinear", "exif_rotation": true},
             "labels": ["dark", "bright"], "min_confidence": 0.7, "tolerance": 0.0078125,
             "figures": {"dataset": "made", "split": "test", "n": 10, "top1": 0.9},
             "data": {"name": "made", "licence": "none", "source": "here", "attribution": "nobody"},
             "golden": "golden/golden.json", "files": [${rows.joinToString()}]}
        """.toByteArray()
    }

    /** The same bundle with another file; [signed] is one that edgekd wrote so, else one that was tampered with. */
    fun with(name: String, content: ByteArray, signed: Boolean) = apply {
        files[name] = content
        if (signed) sign()
    }

    override fun names(): Set<String> = files.keys

    override fun open(name: String): ByteBuffer = ByteBuffer.wrap(files.getValue(name))
}

val fakePhone = Device("ACME & Co", "Fön 7", "arm64-v8a", "15", 35)
