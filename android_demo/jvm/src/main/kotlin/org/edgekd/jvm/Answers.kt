package org.edgekd.jvm

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.edgekd.core.Bundle
import org.edgekd.core.Classifier
import org.edgekd.core.EdgekdException
import org.edgekd.core.EngineSettings
import org.edgekd.core.FolderFiles
import org.edgekd.core.Picture
import org.edgekd.core.PreprocessingRule
import org.edgekd.core.picture
import org.edgekd.core.preprocess
import org.edgekd.core.resize
import org.edgekd.core.sha256

/**
 * Answers the questions in a folder, for comparison with Python; one start of the JVM for all of them.
 *
 * ```
 * pictures.bin   each picture: width, height, EXIF orientation, side of the result, 1 for center_crop or 0, as big-endian
 *                32-bit integers, and its R, G, B bytes        -> pictures.out: the tensors, one after the other
 * files/         PNG and JPEG files                            -> files.out: name, tab, SHA-256 of the R, G, B bytes of the
 *                                                                 upright picture or the error's name and message; sorted
 * bundle/        a bundle                                      -> bundle.out: "accepted", or the error's name and message
 * tensors.bin    input tensors for it, one after the other     -> probs_xnnpack.out, probs_builtin.out: its float32
 *                                                                 probabilities, little-endian
 * ```
 */
fun main(arguments: Array<String>) {
    val folder = File(arguments.single())
    folder.resolve("pictures.bin").takeIf { it.exists() }?.let { answerPictures(it, folder.resolve("pictures.out")) }
    folder.resolve("files").listFiles()?.let { files ->
        folder.resolve("files.out").writeText(files.sorted().joinToString("") { "${it.name}\t${answerFile(it)}\n" })
    }
    folder.resolve("bundle").takeIf { it.exists() }?.let { answerBundle(it, folder) }
}

private fun answerPictures(request: File, answer: File) {
    DataInputStream(request.inputStream().buffered()).use { input ->
        DataOutputStream(answer.outputStream().buffered()).use { output ->
            while (input.available() > 0) {
                val (width, height, orientation, size, crop) = List(5) { input.readInt() }
                val rgb = ByteArray(3 * width * height).also(input::readFully)
                val resize = if (crop == 1) PreprocessingRule.CENTER_CROP else PreprocessingRule.STRETCH
                val rule = PreprocessingRule(resize, size, "pillow-bilinear", exifRotation = true)
                output.write(preprocess(opaque(width, height, rgb).upright(orientation), rule))
            }
        }
    }
}

private fun opaque(width: Int, height: Int, rgb: ByteArray): Picture {
    fun byte(position: Int) = rgb[position].toInt() and 0xFF
    return Picture(width, height, IntArray(width * height) {
        byte(3 * it) or (byte(3 * it + 1) shl 8) or (byte(3 * it + 2) shl 16) or (0xFF shl 24)
    })
}

private fun answerFile(file: File): String = answering {
    val picture = PngDecoder.picture(file.readBytes())
    sha256(ByteBuffer.wrap(resize(picture, picture.width, picture.height))) // to its own size: the pixels as they are
}

private fun answerBundle(bundle: File, folder: File) {
    val tensors = folder.resolve("tensors.bin")
    val answer = answering {
        val opened = Bundle.open(FolderFiles(bundle))
        for (settings in listOf(EngineSettings(xnnpack = true), EngineSettings(xnnpack = false))) {
            Classifier.open(opened, settings, engines = NativeEngine::open).use {
                val probs = folder.resolve("probs_${settings.kernel}.out")
                if (tensors.exists()) probs.writeBytes(probs(it, tensors.readBytes()))
            }
        }
        "accepted"
    }
    folder.resolve("bundle.out").writeText(answer + "\n")
}

private fun probs(classifier: Classifier, tensors: ByteArray): ByteArray {
    val length = classifier.bundle.manifest.preprocessing.size.let { 3 * it * it }
    val answers = (tensors.indices step length).map { classifier.probs(tensors.copyOfRange(it, it + length)) }
    val bytes = ByteBuffer.allocate(Float.SIZE_BYTES * answers.sumOf { it.size }).order(ByteOrder.LITTLE_ENDIAN)
    for (probs in answers) for (prob in probs) bytes.putFloat(prob)
    return bytes.array()
}

private fun answering(question: () -> String): String = try {
    question()
} catch (error: EdgekdException) {
    "${error.javaClass.simpleName}: ${error.message}"
}
