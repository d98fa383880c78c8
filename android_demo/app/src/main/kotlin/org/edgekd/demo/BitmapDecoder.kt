package org.edgekd.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import java.nio.IntBuffer
import org.edgekd.core.Decoded
import org.edgekd.core.ImageTooLarge
import org.edgekd.core.MAX_PIXELS
import org.edgekd.core.Picture
import org.edgekd.core.PixelDecoder
import org.edgekd.core.exifOrientation

/** Android's decoder, kept from everything it likes to do to a picture on the way. */
object BitmapDecoder : PixelDecoder {
    override fun decode(bytes: ByteArray): Decoded? {
        // The decoder's own reading of the size, before it takes memory: a file may state several.
        val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(bytes, 0, bytes.size, size)
        if (size.outWidth.toLong() * size.outHeight > MAX_PIXELS) throw ImageTooLarge(size.outWidth, size.outHeight)

        val asStored = BitmapFactory.Options().apply {
            inScaled = false
            inPremultiplied = false
            inPreferredConfig = Bitmap.Config.ARGB_8888
        }
        val bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.size, asStored) ?: return null
        try {
            if (bitmap.config != Bitmap.Config.ARGB_8888) return null
            // A copy of the memory; getPixels would convert the colours to sRGB.
            val rgba = IntArray(bitmap.width * bitmap.height)
            bitmap.copyPixelsToBuffer(IntBuffer.wrap(rgba))
            return Decoded(Picture(bitmap.width, bitmap.height, rgba), exifOrientation(bytes))
        } finally {
            bitmap.recycle()
        }
    }
}
