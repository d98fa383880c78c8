package org.edgekd.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** On files of headers alone, by the PNG and JPEG specifications; whole files are compared with Pillow elsewhere. */
class DecodeTest {
    private val notReached = PixelDecoder { throw AssertionError("decoded") }

    @Test
    fun `sizes of a PNG and of a JPEG`() {
        assertEquals(3 to 5, inspect(emptyPng(3, 5)).let { it.width to it.height })
        assertEquals(3 to 5, inspect(jpeg(3, 5)).let { it.width to it.height })
        assertEquals(3 to 5, inspect(jpeg(3, 5, channels = 1)).let { it.width to it.height })
    }

    @Test
    fun `kinds whose conversion is a matter of taste are refused before they are decoded`() {
        val advice = "cannot be classified here; save it as 8-bit PNG or JPEG"
        val animation = emptyPng().dropLast(12).toByteArray() + chunk("acTL", ByteArray(8)) + chunk("IEND", ByteArray(0))
        refused<UnsupportedImage>("a picture of 16 bits a channel $advice") { notReached.picture(emptyPng(bits = 16)) }
        refused<UnsupportedImage>("a CMYK picture $advice") { notReached.picture(jpeg(3, 5, channels = 4)) }
        refused<UnsupportedImage>("a picture of 2 channels $advice") { notReached.picture(jpeg(3, 5, channels = 2)) }
        refused<UnsupportedImage>("a picture of 12 bits $advice") { notReached.picture(jpeg(3, 5, bits = 12)) }
        refused<UnsupportedImage>("an animation $advice") { notReached.picture(animation) }
        for (other in listOf("", "GIF89a", "BM", "\u0000")) {
            refused<UnsupportedImage>("a file that is neither PNG nor JPEG $advice") {
                notReached.picture(other.toByteArray())
            }
        }
    }

    @Test
    fun `sizes of nothing and of a hundred megapixels are refused before they are decoded`() {
        refused<EmptyImage>("the picture is empty: 0 x 7 pixels") { notReached.picture(emptyPng(0, 7)) }
        refused<EmptyImage>("the picture is empty: 7 x 0 pixels") { notReached.picture(jpeg(7, 0)) }
        val message = "the picture is too large: 10000 x 10000 pixels; scale it down"
        refused<ImageTooLarge>(message) { notReached.picture(emptyPng(10_000, 10_000)) }
        refused<ImageTooLarge>(message) { notReached.picture(jpeg(10_000, 10_000)) }
    }

    @Test
    fun `a file cut off anywhere is refused before it is decoded`() {
        for (whole in listOf(emptyPng(), jpeg(3, 5))) {
            for (length in 8 until whole.size) {
                refused<UnreadableImage>("the picture cannot be read: it is cut off") {
                    notReached.picture(whole.copyOf(length))
                }
            }
        }
    }

    @Test
    fun `a length beyond the file's end is refused, negative or large`() {
        for (length in listOf(-1, Int.MIN_VALUE, Int.MAX_VALUE, 1000)) {
            assertThrows<UnreadableImage> { notReached.picture(emptyPng().copyOf(33) + int32(length) + ByteArray(100)) }
        }
    }

    @Test
    fun `a file without a size is refused`() {
        val message = "the picture cannot be read: it states no size"
        refused<UnreadableImage>(message) { notReached.picture(emptyPng().copyOf(8) + chunk("IEND", ByteArray(0))) }
        refused<UnreadableImage>(message) { notReached.picture(bytes(0xFF, 0xD8, 0xFF, 0xD9)) }
    }

    @Test
    fun `what the decoder cannot do is a typed error`() {
        refused<UnreadableImage>("the picture cannot be read: its content is damaged") {
            PixelDecoder { null }.picture(emptyPng())
        }
        refused<ImageTooLarge>("the picture is too large: 2 x 2 pixels; scale it down") {
            PixelDecoder { throw OutOfMemoryError() }.picture(emptyPng())
        }
        refused<UnreadableImage>("the picture cannot be read: it is not of the size that it states") {
            PixelDecoder { Decoded(grey(1, 1, 0), 1) }.picture(emptyPng())
        }
    }

    @ParameterizedTest
    @ValueSource(ints = [1, 2, 3, 4, 5, 6, 7, 8])
    fun `the orientation is read from both kinds of file, in both byte orders`(orientation: Int) {
        for (little in listOf(false, true)) {
            assertEquals(orientation, exifOrientation(png(tiff(orientation, little))))
            assertEquals(orientation, exifOrientation(jpeg(3, 5, exif = tiff(orientation, little))))
        }
    }

    @Test
    fun `EXIF that names none, a wrong one, or one that is cut off leaves the picture as it is`() {
        assertEquals(1, exifOrientation(emptyPng()))
        assertEquals(1, exifOrientation(png(tiff(0))))
        assertEquals(1, exifOrientation(png(tiff(9))))
        assertEquals(1, exifOrientation(png(tiff(6, tag = 0x0100))))
        assertEquals(1, exifOrientation(png(tiff(6, type = 2))))
        assertEquals(1, exifOrientation(png(tiff(6).copyOf(12))))
        assertEquals(1, exifOrientation(png(tiff(6).also { it[4] = 127 }))) // the directory lies beyond the end
    }

    @Test
    fun `EXIF that is none is refused`() {
        refused<UnreadableImage>("the picture cannot be read: its EXIF data are damaged") {
            exifOrientation(png("anything".toByteArray()))
        }
    }

    @Test
    fun `the picture is turned upright`() {
        val upright = PixelDecoder { Decoded(grey(2, 2, 0, 50, 100, 150), 3) }.picture(emptyPng())
        assertEquals(listOf(150, 100, 50, 0), resize(upright, 2, 2).toList().chunked(3) { it[0].toInt() and 0xFF })
    }

    private fun bytes(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }

    private fun png(exif: ByteArray) =
        emptyPng().dropLast(12).toByteArray() + chunk("eXIf", exif) + chunk("IEND", ByteArray(0))

    /** Start of image; APP1; a restart interval; start of frame; start of scan with data; end of image. */
    private fun jpeg(width: Int, height: Int, channels: Int = 3, bits: Int = 8, exif: ByteArray? = null): ByteArray {
        val frame = bytes(bits, height shr 8, height, width shr 8, width, channels) + ByteArray(3 * channels)
        val data = bytes(1, 0xFF, 0x00, 2, 0xFF, 0xD0, 3) // a stuffed zero and a restart marker
        val app1 = exif?.let { segment(0xE1, "Exif\u0000\u0000".toByteArray() + it) } ?: segment(0xE1, bytes(1))
        val head = app1 + segment(0xDD, bytes(0, 1)) + segment(0xC2, frame)
        return bytes(0xFF, 0xD8) + head + segment(0xDA, bytes(1)) + data + bytes(0xFF, 0xD9)
    }

    private fun segment(marker: Int, content: ByteArray) =
        bytes(0xFF, marker, (content.size + 2) shr 8, content.size + 2) + content

    /** A TIFF header and one directory of one entry (TIFF 6.0, section 2). */
    private fun tiff(orientation: Int, little: Boolean = false, tag: Int = 0x0112, type: Int = 3): ByteArray {
        fun int16(value: Int) = bytes(value shr 8, value).let { if (little) it.reversedArray() else it }
        fun int32(value: Int) = org.edgekd.core.int32(value).let { if (little) it.reversedArray() else it }
        val magic = (if (little) "II" else "MM").toByteArray()
        val entry = int16(tag) + int16(type) + int32(1) + int16(orientation) + int16(0)
        return magic + int16(42) + int32(8) + int16(1) + entry + int32(0)
    }
}
