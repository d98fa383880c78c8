package org.edgekd.demo

import org.edgekd.core.Picture
import org.edgekd.core.resize

/** Pixels to be shown, as Android takes them: integers `0xAARRGGBB`, rows from the top. */
class Pixels(val width: Int, val height: Int, val argb: IntArray) {
    companion object {
        /** The longest side of a preview. */
        const val PREVIEW_SIDE = 720

        /** Bytes R, G, B of shape `(height, width, 3)`. */
        fun of(rgb: ByteArray, width: Int, height: Int): Pixels = Pixels(width, height, pack(rgb))

        /** An upright picture, no larger than a screen needs it. */
        fun preview(picture: Picture): Pixels {
            val scale = minOf(1.0, PREVIEW_SIDE.toDouble() / maxOf(picture.width, picture.height))
            val width = maxOf(1, (picture.width * scale).toInt())
            val height = maxOf(1, (picture.height * scale).toInt())
            return of(resize(picture, width, height), width, height)
        }
    }
}

/** A made picture, the same on every device, for timing. */
fun madePicture(width: Int, height: Int): Picture = Picture(
    width,
    height,
    IntArray(width * height) {
        val (y, x) = it / width to it % width
        val (red, green, blue) = Triple(255 * x / width, 255 * y / height, (x xor y) and 0xFF)
        OPAQUE or (blue shl 16) or (green shl 8) or red
    },
)

private const val OPAQUE = 0xFF shl 24

private fun pack(rgb: ByteArray) = IntArray(rgb.size / 3) {
    fun channel(index: Int) = rgb[3 * it + index].toInt() and 0xFF
    OPAQUE or (channel(0) shl 16) or (channel(1) shl 8) or channel(2)
}
