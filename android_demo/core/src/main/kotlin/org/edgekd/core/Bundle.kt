package org.edgekd.core

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/** Where a bundle's files lie: a folder, or an app's assets. */
interface BundleFiles {
    /** Every file, as a path relative to the bundle with `/` between folders. */
    fun names(): Set<String>

    /** The whole content, mapped into memory where that can be had. */
    fun open(name: String): ByteBuffer
}

/** A bundle in a folder. */
class FolderFiles(private val folder: File) : BundleFiles {
    override fun names(): Set<String> =
        folder.walkTopDown().filter { it.isFile }.map { it.relativeTo(folder).invariantSeparatorsPath }.toSet()

    override fun open(name: String): ByteBuffer = RandomAccessFile(File(folder, name), "r").use { file ->
        file.channel.map(FileChannel.MapMode.READ_ONLY, 0, file.length())
    }
}

/** A bundle of which every file is the one that edgekd wrote. */
class Bundle private constructor(val manifest: Manifest, private val contents: Map<String, ByteBuffer>) {
    /** The model's bytes, as the interpreter takes them. */
    val model: ByteBuffer get() = buffer(MODEL_FILE)

    fun bytes(name: String): ByteArray = buffer(name).let { ByteArray(it.remaining()).apply { it.get(this) } }

    fun text(name: String): String = bytes(name).toString(Charsets.UTF_8)

    private fun buffer(name: String): ByteBuffer =
        contents[name]?.duplicate() ?: throw BrokenManifest("it does not name $name")

    companion object {
        /**
         * Check every file against the manifest's digests.
         *
         * Throws a [BundleException], or [LabelCount].
         */
        fun open(files: BundleFiles): Bundle {
            val there = files.names()
            if (MANIFEST_FILE !in there) throw MissingFile(MANIFEST_FILE)
            val manifest = Manifest.parse(Charsets.UTF_8.decode(files.content(MANIFEST_FILE)).toString())
            val named = manifest.files.associateBy { it.path }
            (named.keys - there).minOrNull()?.let { throw MissingFile(it) }
            (there - named.keys - MANIFEST_FILE).minOrNull()?.let { throw ExtraFile(it) }
            val contents = named.mapValues { (name, file) ->
                files.content(name).also { if (sha256(it) != file.sha256) throw DigestMismatch(name) }
            }
            return Bundle(manifest, contents).also { it.checkLabels() }
        }

        private fun BundleFiles.content(name: String): ByteBuffer = try {
            open(name)
        } catch (error: IOException) {
            throw UnreadableFile(name, error.message.orEmpty())
        }
    }

    private fun checkLabels() {
        if (text(LABELS_FILE).removeSuffix("\n").split('\n') != manifest.labels) {
            throw BrokenManifest("$LABELS_FILE and the manifest name other classes")
        }
        val outputs = manifest.output.shape.lastOrNull() ?: 0
        if (outputs != manifest.labels.size) throw LabelCount(manifest.labels.size, outputs)
    }
}
