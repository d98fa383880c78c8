package org.edgekd.core

/** A picture as the file stores it, with the EXIF orientation that it names (1 if none). */
class Decoded(val stored: Picture, val orientation: Int)

/** The platform's decoder for files that [inspect] lets through. */
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

internal class ImageHeader(val width: Int, val height: Int)

/**
 * Walk through a PNG's chunks or a JPEG's segments to the end, since decoders fill up what a cut-off file lacks.
 *
 * Refused are the kinds whose conversion to 8-bit RGB depends on the decoder: 16 bits a channel and CMYK.
 */
internal fun inspect(bytes: ByteArray): ImageHeader {
    val reader = Reader(bytes)
    val header = try {
        when {
            reader.startsWith(0x89, 'P'.code, 'N'.code, 'G'.code, 0x0D, 0x0A, 0x1A, 0x0A) -> inspectPng(reader)
            reader.startsWith(0xFF, 0xD8, 0xFF) -> inspectJpeg(reader)
            else -> throw UnsupportedImage("a file that is neither PNG nor JPEG")
        }
    } catch (_: IndexOutOfBoundsException) {
        throw UnreadableImage("it is cut off")
    }
    checkSize(header.width, header.height)
    return header
}

private fun inspectPng(reader: Reader): ImageHeader {
    var header: ImageHeader? = null
    var position = 8
    while (true) {
        val length = reader.int32(position)
        if (length < 0) throw UnreadableImage("a chunk of it has no length")
        when (reader.int32(position + 4)) {
            0x49484452 -> { // IHDR
                if (reader.byte(position + 16) == 16) throw UnsupportedImage("a picture of 16 bits a channel")
                header = ImageHeader(reader.int32(position + 8), reader.int32(position + 12))
            }
            0x6163544C -> throw UnsupportedImage("an animation") // acTL
            0x49454E44 -> return header ?: throw UnreadableImage("it states no size") // IEND
        }
        position += 12 + length
    }
}

private fun inspectJpeg(reader: Reader): ImageHeader {
    var header: ImageHeader? = null
    var position = 2
    while (true) {
        while (reader.byte(position) != 0xFF || reader.byte(position + 1) in IN_SCAN) position++
        val marker = reader.byte(position + 1)
        if (marker == 0xD9) return header ?: throw UnreadableImage("it states no size") // end of image
        if (marker in FRAMES) {
            when (reader.byte(position + 9)) {
                1, 3 -> Unit
                4 -> throw UnsupportedImage("a CMYK picture")
                else -> throw UnsupportedImage("a picture of ${reader.byte(position + 9)} channels")
            }
            if (reader.byte(position + 4) != 8) throw UnsupportedImage("a picture of ${reader.byte(position + 4)} bits")
            header = ImageHeader(reader.int16(position + 7), reader.int16(position + 5))
        }
        position += 2 + reader.int16(position + 2)
    }
}

/** What follows 0xFF inside compressed data: a stuffed 0, fill bytes, restart markers. */
private val IN_SCAN = setOf(0x00, 0xFF) + (0xD0..0xD7)

/** Start of a frame, of any of JPEG's processes; 0xC4, 0xC8 and 0xCC are something else. */
private val FRAMES = (0xC0..0xCF) - setOf(0xC4, 0xC8, 0xCC)

private class Reader(private val bytes: ByteArray) {
    fun byte(position: Int): Int = bytes[position].toInt() and 0xFF

    fun int16(position: Int): Int = byte(position) shl 8 or byte(position + 1)

    fun int32(position: Int): Int = int16(position) shl 16 or int16(position + 2)

    fun startsWith(vararg values: Int): Boolean =
        bytes.size >= values.size && values.indices.all { byte(it) == values[it] }
}
