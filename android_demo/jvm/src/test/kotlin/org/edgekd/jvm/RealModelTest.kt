package org.edgekd.jvm

import java.io.File
import java.nio.ByteBuffer
import org.edgekd.core.Bundle
import org.edgekd.core.BundleFiles
import org.edgekd.core.Check.Kind
import org.edgekd.core.Classifier
import org.edgekd.core.DigestMismatch
import org.edgekd.core.EngineSettings
import org.edgekd.core.ExtraFile
import org.edgekd.core.FolderFiles
import org.edgekd.core.InferenceEngine
import org.edgekd.core.LabelCount
import org.edgekd.core.MANIFEST_FILE
import org.edgekd.core.MODEL_FILE
import org.edgekd.core.MissingFile
import org.edgekd.core.SelfTestReport
import org.edgekd.core.UnusableModel
import org.edgekd.core.WrongTensor
import org.edgekd.core.selfTest
import org.edgekd.core.sha256
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** The bundle that the app ships with, or the one that -Dedgekd.bundle names, through the core and a real interpreter. */
class RealModelTest {
    private val folder = File(System.getProperty("edgekd.bundle", "../app/src/main/assets/edgekd"))
    private val files = FolderFiles(folder)

    @BeforeEach
    fun `there is a bundle`() =
        assumeTrue(folder.resolve(MANIFEST_FILE).exists(), "no bundle in $folder; name one with -Dedgekd.bundle")

    @ParameterizedTest
    @ValueSource(booleans = [true, false])
    fun `every golden passes, and every flipped sign fails, with XNNPACK and with the built-in kernels`(xnnpack: Boolean) {
        val report = tested(EngineSettings(xnnpack = xnnpack))
        assertEquals(emptyList<Any>(), report.checks.filter { !it.passed })
        val kinds = report.checks.groupingBy { it.kind }.eachCount()
        assertTrue(kinds.getValue(Kind.ANSWER) in 8..16)
        assertTrue(kinds.getValue(Kind.FLIPPED_SIGN) >= 1)
        assertTrue(kinds.getValue(Kind.PREPROCESSING) >= 2)
        report.admit()
    }

    @Test
    fun `two threads pass too`() = assertTrue(tested(EngineSettings(numThreads = 2)).passed)

    @Test
    fun `the self-test of 16 goldens takes less than a second`() {
        val report = tested(EngineSettings())
        val goldens = report.checks.count { it.kind == Kind.ANSWER }
        println("self-test: $goldens goldens and ${report.checks.size} checks in ${report.millis} ms")
        assertTrue(report.millis * 16 / goldens < 1000)
    }

    @Test
    fun `a device that takes uint8 for int8 is not admitted`() {
        class MixedUp(private val engine: InferenceEngine) : InferenceEngine by engine {
            override fun run(tensor: ByteArray) =
                engine.run(ByteArray(tensor.size) { (tensor[it].toInt() xor 0x80).toByte() })
        }
        val classifier = Classifier.open(Bundle.open(files), EngineSettings()) { model, settings ->
            MixedUp(NativeEngine.open(model, settings))
        }
        val report = classifier.use { selfTest(it, PngDecoder) }
        assertTrue(report.checks.any { it.kind == Kind.ANSWER && !it.passed })
    }

    @Test
    fun `a tampered byte in any file is refused, at its beginning, middle and end`() {
        for (name in files.names() - MANIFEST_FILE) {
            for (position in bytes(name).indices.let { setOf(it.first, it.last / 2, it.last) }) {
                val tampered = bytes(name).also { it[position] = (it[position] + 1).toByte() }
                assertThrows<DigestMismatch> { Bundle.open(changed(name, tampered)) }
            }
        }
    }

    @Test
    fun `a missing file and an extra one are refused`() {
        for (name in files.names()) {
            assertThrows<MissingFile> { Bundle.open(listing(files.names() - name)) }
        }
        assertThrows<ExtraFile> { Bundle.open(listing(files.names() + "extra")) }
    }

    @Test
    fun `a truncated model is refused even where its digest is right`() {
        val model = bytes(MODEL_FILE)
        for (length in listOf(0, 4, 8, 100, model.size / 2)) {
            assertThrows<UnusableModel> { opened(replaced(MODEL_FILE, model.copyOf(length))) }
        }
    }

    @Test
    fun `a model of another size than the manifest says is refused`() {
        val size = Bundle.open(files).manifest.preprocessing.size
        val larger = bytes(MANIFEST_FILE).toString(Charsets.UTF_8)
            .replace(Regex("(\"size\": )$size"), "$1${size + 1}")
            .replace(Regex("$size,(\\s*)$size,"), "${size + 1},$1${size + 1},")
        assertThrows<WrongTensor> { opened(changed(MANIFEST_FILE, larger.toByteArray())) }
    }

    @Test
    fun `a label count unlike the model's output is refused`() {
        val labels = Bundle.open(files).manifest.labels
        val more = labels + "another"
        val text = bytes(MANIFEST_FILE).toString(Charsets.UTF_8)
            .replaceFirst(Regex("\"labels\": \\[[^\\]]*]"), "\"labels\": [" + more.joinToString { "\"$it\"" } + "]")
            .replaceFirst(Regex("(\"output\": \\{[^}]*\"shape\": \\[\\s*1,\\s*)${labels.size}"), "$1${more.size}")
        val labelled = replaced("labels.txt", (more.joinToString("\n") + "\n").toByteArray(), text)
        assertThrows<LabelCount> { opened(labelled) }
    }

    private fun opened(files: BundleFiles, settings: EngineSettings = EngineSettings()): Classifier =
        Classifier.open(Bundle.open(files), settings, engines = NativeEngine::open)

    private fun tested(settings: EngineSettings): SelfTestReport = opened(files, settings).use { selfTest(it, PngDecoder) }

    private fun bytes(name: String): ByteArray = folder.resolve(name).readBytes()

    private fun listing(names: Set<String>) = object : BundleFiles by files {
        override fun names() = names
    }

    /** Another content, which the manifest (or [text]) names as its own. */
    private fun replaced(
        name: String,
        content: ByteArray,
        text: String = bytes(MANIFEST_FILE).toString(Charsets.UTF_8),
    ): BundleFiles {
        val digest = sha256(ByteBuffer.wrap(bytes(name)))
        assertTrue(digest in text)
        val manifest = text.replace(digest, sha256(ByteBuffer.wrap(content))).toByteArray()
        return changed(MANIFEST_FILE, manifest, changed(name, content))
    }

    private fun changed(changed: String, content: ByteArray, base: BundleFiles = files) = object : BundleFiles by base {
        override fun open(name: String): ByteBuffer = if (name == changed) ByteBuffer.wrap(content) else base.open(name)
    }
}
