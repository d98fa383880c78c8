package org.edgekd.core

/** A picture as the file stores it, with the EXIF orientation that it names (1 if none), see [exifOrientation]. */
class Decoded(val stored: Picture, val orientation: Int)

/** The platform's decoder for files that [PixelDecoder.picture] found nothing wrong with. */
fun interface PixelDecoder {
    /** The pixels as stored: not scaled, not turned, alpha not multiplied in, no colour conversion; null if broken. */
    fun decode(bytes: ByteArray): Decoded?
}

/**
 * Decode a PNG or JPEG file and turn it upright.
 *
 * Throws an [ImageException] for anything that the phone could only answer with a guess.
 */
fun PixelDecoder.picture(bytes: ByteArray): Picture {
    val header = inspect(bytes)
    val decoded = try {
        decode(bytes)
    } catch (_: OutOfMemoryError) {
        throw ImageTooLarge(header.width, header.height)
    } ?: throw UnreadableImage("its content is damaged")
    if (decoded.stored.width != header.width || decoded.stored.height != header.height) {
        throw UnreadableImage("it is not of the size that it states")
    }
    return decoded.stored.upright(decoded.orientation)
}

/** The EXIF orientation 1..8 that a PNG or JPEG file names; 1 if none. Throws an [ImageException]. */
fun exifOrientation(bytes: ByteArray): Int = inspect(bytes).orientation
