package org.edgekd.core

/** Numbers in a part of a file; IndexOutOfBoundsException where it ends before them. */
internal class Reader private constructor(
    private val bytes: ByteArray,
    private val start: Int,
    private val size: Int,
    private val bigEndian: Boolean,
) {
    constructor(bytes: ByteArray) : this(bytes, 0, bytes.size, bigEndian = true)

    fun byte(position: Int): Int {
        if (position !in 0 until size) throw IndexOutOfBoundsException()
        return bytes[start + position].toInt() and 0xFF
    }

    fun int16(position: Int): Int = joined(byte(position), byte(position + 1), 8)

    fun int32(position: Int): Int = joined(int16(position), int16(position + 2), 16)

    fun startsWith(vararg values: Int): Boolean = size >= values.size && values.indices.all { byte(it) == values[it] }

    fun littleEndian(): Reader = Reader(bytes, start, size, bigEndian = false)

    fun part(position: Int, length: Int): Reader {
        if (position < 0 || length < 0 || length > size - position) throw IndexOutOfBoundsException()
        return Reader(bytes, start + position, length, bigEndian)
    }

    private fun joined(first: Int, second: Int, bits: Int): Int =
        if (bigEndian) first shl bits or second else second shl bits or first
}
