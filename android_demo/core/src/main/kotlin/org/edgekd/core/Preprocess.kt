package org.edgekd.core

import kotlin.math.abs

/** Bits behind the point of a weight: 8 are the pixel's, 2 are head room, of 32. */
private const val PRECISION_BITS = 32 - 8 - 2

/**
 * The one definition of preprocessing, the same to the last bit as edgekd's in Python: crop if the rule says so, then
 * Pillow's `BILINEAR` resize.
 *
 * @param picture turned upright already, see [Picture.upright].
 * @return R, G, B bytes, rows from the top, shape `(size, size, 3)`.
 */
fun preprocess(picture: Picture, rule: PreprocessingRule): ByteArray = try {
    resize(region(picture, rule), rule.size, rule.size)
} catch (_: OutOfMemoryError) {
    throw ImageTooLarge(picture.width, picture.height)
}

/** The part of the picture that the model sees. */
fun region(picture: Picture, rule: PreprocessingRule): Picture =
    if (rule.resize == PreprocessingRule.CENTER_CROP) picture.centerSquare() else picture

/**
 * Pillow's `BILINEAR` resize (Resample.c, 8 bits per channel): a triangle filter, as wide as the scale when shrinking;
 * columns first and then rows, rounded to 8 bits after each.
 *
 * @return R, G, B bytes, shape `(height, width, 3)`.
 */
fun resize(picture: Picture, width: Int, height: Int): ByteArray {
    val across = taps(picture.width, width)
    val down = taps(picture.height, height)
    val source = IntArray(3 * picture.width)
    val narrowed = List(picture.height) { y -> across.blend(source.also { picture.readRow(y, it) }) }
    val rows = down.map { tap -> tap.blend(3 * width) { y -> narrowed[y] } }
    return ByteArray(3 * width * height) { rows[it / (3 * width)][it % (3 * width)].toByte() }
}

/** The source pixels from [first] on that make one target pixel, and their weights times 2^[PRECISION_BITS]. */
private class Tap(val first: Int, val weights: IntArray) {
    /** The weighted sum of rows of [length] values; [row] may give the same array again and again. */
    inline fun blend(length: Int, row: (Int) -> IntArray): IntArray {
        val sums = IntArray(length) { HALF }
        for (i in weights.indices) {
            val values = row(first + i)
            for (j in sums.indices) sums[j] += weights[i] * values[j]
        }
        return sums.apply { for (j in indices) this[j] = rounded(this[j]) }
    }
}

/** Each tap's weighted sum of the R, G, B of a row. */
private fun List<Tap>.blend(row: IntArray): IntArray {
    val result = IntArray(3 * size)
    forEachIndexed { x, tap ->
        for (channel in 0..2) {
            var sum = HALF
            for (i in tap.weights.indices) sum += tap.weights[i] * row[3 * (tap.first + i) + channel]
            result[3 * x + channel] = rounded(sum)
        }
    }
    return result
}

private const val HALF = 1 shl (PRECISION_BITS - 1)

private fun rounded(sum: Int): Int = (sum shr PRECISION_BITS).coerceIn(0, 255)

private fun taps(sourceSize: Int, targetSize: Int): List<Tap> {
    val scale = sourceSize.toDouble() / targetSize
    val support = maxOf(scale, 1.0)
    return List(targetSize) { target ->
        val center = (target + 0.5) * scale
        val first = maxOf((center - support + 0.5).toInt(), 0)
        val last = minOf((center + support + 0.5).toInt(), sourceSize)
        // The order of these operations in double precision decides about the last bit.
        val weights = DoubleArray(last - first) { maxOf(0.0, 1.0 - abs((it + first - center + 0.5) * (1.0 / support))) }
        val total = weights.sum()
        Tap(first, IntArray(weights.size) { (0.5 + weights[it] / total * (1 shl PRECISION_BITS)).toInt() })
    }
}
