package org.edgekd.core

import java.nio.ByteBuffer
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class Sha256Test {
    @Test
    fun `the examples of the standard (FIPS 180-2, appendix B_1 and B_2)`() {
        val two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        assertEquals("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", of("abc"))
        assertEquals("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", of(two))
    }

    @Test
    fun `only what remains counts, and it remains`() {
        val content = ByteBuffer.wrap("xabcx".toByteArray()).apply { position(1).limit(4) }
        assertEquals(of("abc"), sha256(content))
        assertEquals(3, content.remaining())
    }

    private fun of(text: String) = sha256(ByteBuffer.wrap(text.toByteArray()))
}
