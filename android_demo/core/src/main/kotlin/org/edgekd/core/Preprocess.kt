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
fun preprocess(picture: Picture, rule: PreprocessingRule): ByteArray =
    resize(region(picture, rule), rule.size, rule.size)

/** The part of the picture that the model sees. */
fun region(picture: Picture, rule: PreprocessingRule): Picture =
    if (rule.resize == PreprocessingRule.CENTER_CROP) picture.centerSquare() else picture

/**
 * Pillow's `BILINEAR` resize (Resample.c, 8 bits per channel): a triangle filter, as wide as the scale when shrinking;
 * first along the rows, rounded to 8 bits, then along the columns.
 *
 * @return R, G, B bytes, shape `(height, width, 3)`.
 */
fun resize(picture: Picture, width: Int, height: Int): ByteArray {
    val horizontal = taps(picture.width, width)
    val source = IntArray(3 * picture.width)
    val narrowed = Array(picture.height) { y ->
        picture.readRow(y, source)
        IntArray(3 * width).also { row ->
            horizontal.forEachIndexed { x, tap ->
                for (channel in 0..2) row[3 * x + channel] = tap.sum { source[3 * it + channel] }
            }
        }
    }
    val result = ByteArray(3 * width * height)
    taps(picture.height, height).forEachIndexed { y, tap ->
        for (i in 0 until 3 * width) result[3 * width * y + i] = tap.sum { narrowed[it][i] }.toByte()
    }
    return result
}

/** The source pixels from [first] on that make one target pixel, and their weights times 2^[PRECISION_BITS]. */
private class Tap(val first: Int, val weights: IntArray) {
    inline fun sum(value: (Int) -> Int): Int {
        var sum = 1 shl (PRECISION_BITS - 1) // rounds
        for (i in weights.indices) sum += weights[i] * value(first + i)
        return (sum shr PRECISION_BITS).coerceIn(0, 255)
    }
}

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
