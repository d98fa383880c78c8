package org.edgekd.core

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class BundleTest {
    @Test
    fun `a bundle gives out what it holds`() {
        val bundle = Bundle.open(bundled())
        assertArrayEquals(INPUT, bundle.bytes("golden/input_00.bin"))
        assertEquals("dark\nbright\n", bundle.text(LABELS_FILE))
        assertEquals(3, bundle.model.remaining())
        refused<BrokenManifest>("the bundle cannot be read: it does not name no.bin; build it again") {
            bundle.bytes("no.bin")
        }
    }

    @Test
    fun `each missing file is named`() {
        for (name in bundled().names()) {
            refused<MissingFile>("$name is missing; lay the bundle in again") {
                Bundle.open(bundled().apply { content -= name })
            }
        }
    }

    @Test
    fun `an extra file is named`() = refused<ExtraFile>("golden/own.png is not named by the manifest; remove it") {
        Bundle.open(bundled().change("golden/own.png", ""))
    }

    @Test
    fun `each changed bit is found`() {
        for ((name, bytes) in bundled().content - MANIFEST_FILE) {
            for (bit in 0 until 8 * bytes.size) {
                val changed = bytes.copyOf().also { it[bit / 8] = (it[bit / 8].toInt() xor (1 shl bit % 8)).toByte() }
                refused<DigestMismatch>("$name is not the file that was bundled (SHA-256); lay it in again") {
                    Bundle.open(bundled().apply { content[name] = changed })
                }
            }
        }
    }

    @Test
    fun `a file cut off at its end is found`() =
        refused<DigestMismatch>("$MODEL_FILE is not the file that was bundled (SHA-256); lay it in again") {
            Bundle.open(bundled().apply { content[MODEL_FILE] = byteArrayOf(1, 2) })
        }

    @Test
    fun `labels that are not those of the manifest are refused`() {
        val message = "the bundle cannot be read: $LABELS_FILE and the manifest name other classes; build it again"
        for (labels in listOf("bright\ndark\n", "dark\nbright\n\n", "dark", "")) {
            refused<BrokenManifest>(message) {
                Bundle.open(bundled(LABELS_FILE to labels.toByteArray()))
            }
        }
    }

    @Test
    fun `a label count unlike the output is refused`() {
        refused<LabelCount>("2 labels for a model that gives 3 values; build the bundle again") {
            Bundle.open(bundled { it.replace("[1, 2]", "[1, 3]") })
        }
        refused<LabelCount>("2 labels for a model that gives 0 values; build the bundle again") {
            Bundle.open(bundled { it.replace("[1, 2]", "[]") })
        }
    }

    @Test
    fun `a file that the phone cannot read is a typed error`() {
        val files = bundled()
        val failing = object : BundleFiles by files {
            override fun open(name: String): ByteBuffer =
                if (name == MODEL_FILE) throw IOException("input/output error") else files.open(name)
        }
        refused<UnreadableFile>("$MODEL_FILE cannot be read: input/output error; lay the bundle in again") {
            Bundle.open(failing)
        }
    }

    @Test
    fun `a bundle in a folder`(@TempDir folder: File) {
        for ((name, bytes) in bundled().content) folder.resolve(name).apply { parentFile.mkdirs() }.writeBytes(bytes)
        assertEquals(3, Bundle.open(FolderFiles(folder)).model.remaining())
        folder.resolve(LABELS_FILE).writeText("")
        refused<DigestMismatch>("$LABELS_FILE is not the file that was bundled (SHA-256); lay it in again") {
            Bundle.open(FolderFiles(folder))
        }
        refused<MissingFile>("$MANIFEST_FILE is missing; lay the bundle in again") {
            Bundle.open(FolderFiles(File(folder, "none")))
        }
    }
}
