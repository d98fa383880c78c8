package org.edgekd.core

internal class ImageHeader(val width: Int, val height: Int, val orientation: Int)

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
    var size: Pair<Int, Int>? = null
    var orientation = UPRIGHT
    var position = 8
    while (true) {
        val length = reader.int32(position)
        if (length < 0) throw UnreadableImage("a chunk of it has no length")
        when (reader.int32(position + 4)) {
            0x49484452 -> { // IHDR
                if (reader.byte(position + 16) == 16) throw UnsupportedImage("a picture of 16 bits a channel")
                size = reader.int32(position + 8) to reader.int32(position + 12)
            }
            0x6163544C -> throw UnsupportedImage("an animation") // acTL
            0x65584966 -> orientation = orientation(reader.part(position + 8, length)) // eXIf
            0x49454E44 -> return reader.part(position, 12 + length).let { header(size, orientation) } // IEND
        }
        position += 12 + length
    }
}

private fun inspectJpeg(reader: Reader): ImageHeader {
    var size: Pair<Int, Int>? = null
    var orientation: Int? = null
    var position = 2
    while (true) {
        while (reader.byte(position) != 0xFF || reader.byte(position + 1) in IN_SCAN) position++
        val marker = reader.byte(position + 1)
        if (marker == 0xD9) return header(size, orientation ?: UPRIGHT) // end of image
        val length = reader.int16(position + 2)
        if (marker in FRAMES) {
            when (reader.byte(position + 9)) {
                1, 3 -> Unit
                4 -> throw UnsupportedImage("a CMYK picture")
                else -> throw UnsupportedImage("a picture of ${reader.byte(position + 9)} channels")
            }
            if (reader.byte(position + 4) != 8) throw UnsupportedImage("a picture of ${reader.byte(position + 4)} bits")
            size = reader.int16(position + 7) to reader.int16(position + 5)
        }
        if (marker == 0xE1 && length >= 8 && orientation == null) { // APP1; the first that is EXIF counts
            val segment = reader.part(position + 4, length - 2)
            if (segment.startsWith(*EXIF)) orientation = orientation(segment.part(EXIF.size, length - 2 - EXIF.size))
        }
        position += 2 + length
    }
}

private fun header(size: Pair<Int, Int>?, orientation: Int): ImageHeader {
    val (width, height) = size ?: throw UnreadableImage("it states no size")
    return ImageHeader(width, height, orientation)
}

private val EXIF = intArrayOf('E'.code, 'x'.code, 'i'.code, 'f'.code, 0, 0)

/** What follows 0xFF inside compressed data: a stuffed 0, fill bytes, restart markers. */
private val IN_SCAN = setOf(0x00, 0xFF) + (0xD0..0xD7)

/** Start of a frame, of any of JPEG's processes; 0xC4, 0xC8 and 0xCC are something else. */
private val FRAMES = (0xC0..0xCF) - setOf(0xC4, 0xC8, 0xCC)
