package org.edgekd.core

import kotlinx.serialization.Serializable

@Serializable
internal data class Golden(val vectors: List<GoldenVector>, val pictures: List<GoldenPicture>)

/** An input tensor, and between what three kernels answered to it. */
@Serializable
internal data class GoldenVector(
    val input: String,
    val low: List<Double>,
    val high: List<Double>,
    val top1: Int,
    val decisive: Boolean,
    val failsWithFlippedSign: Boolean,
) {
    /** Every probability within the envelope plus [tolerance], and the same class where the margin allows to ask. */
    fun holds(probs: FloatArray, tolerance: Double): Boolean =
        probs.size == low.size && probs.size == high.size &&
            probs.indices.all { probs[it] >= low[it] - tolerance && probs[it] <= high[it] + tolerance } &&
            (!decisive || argmax(probs) == top1)
}

/** A picture file, and the tensor that preprocessing must make of it. */
@Serializable
internal data class GoldenPicture(val picture: String, val tensor: String)

/** One thing that the self-test looked at. */
data class Check(val kind: Kind, val name: String, val passed: Boolean) {
    enum class Kind {
        /** A golden input gives the golden answer. */
        ANSWER,

        /** The same bytes with their sign bit flipped do not: uint8 is not taken for int8. */
        FLIPPED_SIGN,

        /** A picture becomes the golden tensor, bit for bit. */
        PREPROCESSING,
    }
}

/** What the self-test found, and how long it took. */
class SelfTestReport internal constructor(private val classifier: Classifier, val checks: List<Check>, val millis: Double) {
    val failures: Int get() = checks.count { !it.passed }
    val passed: Boolean get() = failures == 0

    /** The gate: the only way to a classifier for pictures. Throws [SelfTestFailed]. */
    fun admit(): VerifiedClassifier {
        if (!passed) throw SelfTestFailed(failures, checks.size)
        return VerifiedClassifier(classifier)
    }
}

/** Run the bundle's golden inputs and pictures through [classifier] on this device. */
fun selfTest(classifier: Classifier, decoder: PixelDecoder): SelfTestReport {
    val start = System.nanoTime()
    val bundle = classifier.bundle
    val manifest = bundle.manifest
    val golden = parsing { json.decodeFromString<Golden>(bundle.text(manifest.golden)) }
    if (golden.vectors.isEmpty() || golden.pictures.isEmpty()) throw BrokenManifest("it has no golden inputs")
    val size = manifest.preprocessing.size
    val checks = golden.vectors.flatMap { vector ->
        val tensor = bundle.bytes(vector.input)
        if (tensor.size != size * size * 3) throw BrokenManifest("${vector.input} is not $size x $size x 3 bytes long")
        val answer = Check(Check.Kind.ANSWER, vector.input, vector.holds(classifier.probs(tensor), manifest.tolerance))
        if (!vector.failsWithFlippedSign) return@flatMap listOf(answer)
        val flipped = classifier.probs(ByteArray(tensor.size) { (tensor[it].toInt() xor 0x80).toByte() })
        listOf(answer, Check(Check.Kind.FLIPPED_SIGN, vector.input, !vector.holds(flipped, manifest.tolerance)))
    } + golden.pictures.map {
        val found = preprocess(decoder.picture(bundle.bytes(it.picture)), manifest.preprocessing)
        Check(Check.Kind.PREPROCESSING, it.picture, found.contentEquals(bundle.bytes(it.tensor)))
    }
    return SelfTestReport(classifier, checks, (System.nanoTime() - start) / 1e6)
}
