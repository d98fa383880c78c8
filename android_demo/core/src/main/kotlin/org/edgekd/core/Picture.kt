package org.edgekd.core

/** Beyond this many pixels a picture is refused, as in Python. */
const val MAX_PIXELS = 64_000_000

/**
 * A decoded picture, and views of it that copy nothing: turned upright, cropped.
 *
 * Pixel (x, y) is `rgba[offset + x * columnStep + y * rowStep]`, an integer `0xAABBGGRR` with alpha not multiplied in:
 * the bytes R, G, B, A as Android keeps them.
 */
class Picture private constructor(
    val width: Int,
    val height: Int,
    private val rgba: IntArray,
    private val offset: Int,
    private val columnStep: Int,
    private val rowStep: Int,
) {
    constructor(width: Int, height: Int, rgba: IntArray) : this(width, height, rgba, 0, 1, width) {
        checkSize(width, height)
        require(rgba.size == width * height)
    }

    /** Turned as the EXIF orientation 1..8 says; any other value leaves it as it is, as Pillow does. */
    fun upright(orientation: Int): Picture {
        val transposed = orientation in 5..8
        val mirrored = orientation in listOf(2, 3, 7, 8) // the source's columns run from right to left
        val upsideDown = orientation in listOf(3, 4, 6, 7) // the source's rows run from bottom to top
        val firstColumn = if (mirrored) width - 1 else 0
        val firstRow = if (upsideDown) height - 1 else 0
        val start = offset + firstColumn * columnStep + firstRow * rowStep
        val alongColumns = if (mirrored) -columnStep else columnStep
        val alongRows = if (upsideDown) -rowStep else rowStep
        return if (transposed) {
            Picture(height, width, rgba, start, alongRows, alongColumns)
        } else {
            Picture(width, height, rgba, start, alongColumns, alongRows)
        }
    }

    /** The largest centred square. */
    fun centerSquare(): Picture {
        val side = minOf(width, height)
        val start = offset + (width - side) / 2 * columnStep + (height - side) / 2 * rowStep
        return Picture(side, side, rgba, start, columnStep, rowStep)
    }

    /** Write row [y] to [into] as R, G, B; what is transparent is laid over black, rounded as Pillow rounds it. */
    internal fun readRow(y: Int, into: IntArray) {
        var source = offset + y * rowStep
        for (target in 0 until 3 * width step 3) {
            val pixel = rgba[source]
            val alpha = pixel ushr 24
            for (channel in 0..2) {
                val value = pixel ushr (8 * channel) and 0xFF
                into[target + channel] = if (alpha == 255) value else (2 * value * alpha + 255) / 510
            }
            source += columnStep
        }
    }
}

internal fun checkSize(width: Int, height: Int) {
    if (width < 1 || height < 1) throw EmptyImage(width, height)
    if (width.toLong() * height > MAX_PIXELS) throw ImageTooLarge(width, height)
}
