package org.edgekd.demo

import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import org.edgekd.core.UnreadableImage
import org.edgekd.core.UnsupportedImage

/** Larger than any PNG or JPEG of as many pixels as are allowed, but for contrived ones. */
const val MAX_FILE_BYTES = 128 shl 20

/**
 * Read a picture's file, whoever provides it.
 *
 * Throws an `ImageException`: the stream cannot be opened or read, or does not end.
 */
fun readPicture(limit: Int = MAX_FILE_BYTES, open: () -> InputStream?): ByteArray = try {
    val stream = open() ?: throw UnreadableImage("the app that offers it gives nothing")
    stream.use { read(it, limit) }
} catch (error: IOException) {
    throw UnreadableImage(error.message ?: "the app that offers it failed")
} catch (error: SecurityException) { // the grant has ended
    throw UnreadableImage(error.message ?: "it may not be read any more")
}

private fun read(stream: InputStream, limit: Int): ByteArray {
    val content = ByteArrayOutputStream()
    val chunk = ByteArray(1 shl 16)
    while (true) {
        val count = stream.read(chunk)
        if (count < 0) return content.toByteArray()
        content.write(chunk, 0, count)
        if (content.size() > limit) throw UnsupportedImage("a file of more than ${limit shr 20} MiB")
    }
}
