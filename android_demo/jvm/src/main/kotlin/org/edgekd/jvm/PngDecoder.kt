package org.edgekd.jvm

import java.awt.image.BufferedImage
import java.awt.image.IndexColorModel
import java.io.ByteArrayInputStream
import java.io.IOException
import javax.imageio.ImageIO
import org.edgekd.core.Decoded
import org.edgekd.core.Picture
import org.edgekd.core.PixelDecoder
import org.edgekd.core.UnsupportedImage
import org.edgekd.core.exifOrientation

/** The JVM's own decoder, for PNG alone: its JPEG decoder is another than the phone's and Pillow's. */
object PngDecoder : PixelDecoder {
    override fun decode(bytes: ByteArray): Decoded? {
        if (bytes[0] == 0xFF.toByte()) throw UnsupportedImage("a JPEG on a computer's JVM")
        val image = try {
            ImageIO.read(ByteArrayInputStream(bytes)) ?: return null
        } catch (_: IOException) {
            return null
        }
        return Decoded(Picture(image.width, image.height, pixels(image)), exifOrientation(bytes))
    }

    /** The samples as they are stored: `getRGB` would take grey as linear light and change it. */
    private fun pixels(image: BufferedImage): IntArray {
        val raster = image.raster
        val palette = image.colorModel as? IndexColorModel
        val samples = IntArray(raster.numBands)
        return IntArray(image.width * image.height) {
            raster.getPixel(it % image.width, it / image.width, samples)
            val (first, second) = samples.first() to samples.getOrElse(1) { OPAQUE }
            when {
                palette != null -> palette.getRGB(first).let { argb -> rgba(argb shr 16, argb shr 8, argb, argb shr 24) }
                samples.size < 3 -> rgba(first, first, first, second)
                else -> rgba(first, second, samples[2], samples.getOrElse(3) { OPAQUE })
            }
        }
    }

    private const val OPAQUE = 0xFF

    private fun rgba(vararg channels: Int): Int =
        channels.foldRight(0) { channel, pixel -> pixel shl 8 or (channel and 0xFF) }
}
