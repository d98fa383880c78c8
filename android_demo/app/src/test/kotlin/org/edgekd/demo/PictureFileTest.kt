package org.edgekd.demo

import java.io.ByteArrayInputStream
import java.io.FileNotFoundException
import java.io.InputStream
import org.edgekd.core.ImageException
import org.edgekd.core.UnreadableImage
import org.edgekd.core.UnsupportedImage
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class PictureFileTest {
    @Test
    fun `all of a file is read and its stream closed`() {
        val content = ByteArray(200_000) { it.toByte() }
        var closed = false
        val stream = object : ByteArrayInputStream(content) {
            override fun close() {
                closed = true
            }
        }
        assertArrayEquals(content, readPicture { stream })
        assertTrue(closed)
    }

    @Test
    fun `a stream that does not end is given up`() {
        val endless = object : InputStream() {
            override fun read() = 0
        }
        val error = assertThrows<UnsupportedImage> { readPicture(limit = 1 shl 20) { endless } }
        assertEquals("a file of more than 1 MiB cannot be classified here; save it as 8-bit PNG or JPEG", error.message)
    }

    @Test
    fun `whatever the app that offers the picture does becomes an error in words`() {
        val offers = listOf<() -> InputStream?>(
            { null },
            { throw FileNotFoundException("gone") },
            { throw SecurityException("no grant") },
        )
        val messages = offers.map { assertThrows<ImageException> { readPicture(open = it) }.message }
        assertEquals(
            listOf("the app that offers it gives nothing", "gone", "no grant").map { UnreadableImage(it).message },
            messages,
        )
    }
}
