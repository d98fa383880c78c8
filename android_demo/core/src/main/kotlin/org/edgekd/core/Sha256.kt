package org.edgekd.core

import java.nio.ByteBuffer
import java.security.MessageDigest

/** SHA-256 of what remains of [content], as 64 lower-case hexadecimal digits. Leaves the position as it is. */
fun sha256(content: ByteBuffer): String {
    val digest = MessageDigest.getInstance("SHA-256")
    digest.update(content.duplicate())
    return digest.digest().joinToString("") { "%02x".format(it) }
}
