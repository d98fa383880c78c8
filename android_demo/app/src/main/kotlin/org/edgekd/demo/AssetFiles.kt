package org.edgekd.demo

import android.content.res.AssetManager
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.edgekd.core.BundleFiles

/** A bundle in the app's assets: mapped where it is stored in the APK as it is, else read. */
class AssetFiles(private val assets: AssetManager, private val folder: String) : BundleFiles {
    override fun names(): Set<String> = list("").toSet()

    private fun list(below: String): List<String> =
        assets.list("$folder/$below".trimEnd('/')).orEmpty().map { "$below$it" }.flatMap { path ->
            list("$path/").ifEmpty { listOf(path) } // an asset folder is never empty
        }

    override fun open(name: String): ByteBuffer = try {
        map("$folder/$name")
    } catch (_: FileNotFoundException) { // deflated in the APK
        read("$folder/$name")
    }

    private fun map(path: String): ByteBuffer = assets.openFd(path).use { asset ->
        // Not asset.createInputStream(), whose channel counts from the asset's start on newer versions only.
        FileInputStream(asset.fileDescriptor).use {
            it.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
        }
    }

    private fun read(path: String): ByteBuffer {
        val content = assets.open(path).use { it.readBytes() }
        // The interpreter takes no other kind of buffer.
        val buffer = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder())
        buffer.put(content)
        buffer.flip()
        return buffer
    }
}
