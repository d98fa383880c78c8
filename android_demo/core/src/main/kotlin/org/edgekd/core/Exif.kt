package org.edgekd.core

/** The orientation of a picture that is stored as it is looked at. */
internal const val UPRIGHT = 1

private const val ORIENTATION = 0x0112
private const val SHORT = 3
private const val LONG = 4

/**
 * The orientation that a block of EXIF data names, a TIFF structure (EXIF 2.32, 4.5 and 4.6); 1 where it names none.
 *
 * It is read here and not by the phone, whose reader knows JPEG alone on older versions. As in Python, data that are
 * cut off name nothing, and data that are no TIFF structure are an error.
 */
internal fun orientation(tiff: Reader): Int {
    val reader = when {
        tiff.startsWith('I'.code, 'I'.code, 42, 0) -> tiff.littleEndian()
        tiff.startsWith('M'.code, 'M'.code, 0, 42) -> tiff
        else -> throw UnreadableImage("its EXIF data are damaged")
    }
    return try {
        inDirectory(reader, reader.int32(4)).takeIf { it in 1..8 } ?: UPRIGHT
    } catch (_: IndexOutOfBoundsException) {
        UPRIGHT
    }
}

private fun inDirectory(reader: Reader, directory: Int): Int? {
    for (entry in 0 until reader.int16(directory)) {
        val position = directory + 2 + 12 * entry
        if (reader.int16(position) == ORIENTATION) {
            return when (reader.int16(position + 2)) {
                SHORT -> reader.int16(position + 8)
                LONG -> reader.int32(position + 8)
                else -> null
            }
        }
    }
    return null
}
