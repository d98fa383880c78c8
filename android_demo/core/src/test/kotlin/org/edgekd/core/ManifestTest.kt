package org.edgekd.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource
import org.junit.jupiter.params.provider.ValueSource

class ManifestTest {
    @Test
    fun `what edgekd writes is read, and what a later one adds is passed over`() {
        val manifest = Manifest.parse(manifestText())
        assertEquals(listOf("dark", "bright"), manifest.labels)
        assertEquals(TensorSpec("pixels", listOf(1, 2, 2, 3), "uint8", 1.0, 0), manifest.input)
        assertEquals(TensorSpec("probs", listOf(1, 2), "float32", 0.0, 0), manifest.output)
        assertEquals(PreprocessingRule("stretch", 2, "pillow-bilinear", exifRotation = true), manifest.preprocessing)
        assertEquals(0.6, manifest.minConfidence)
        assertEquals(null, manifest.figures.auc)
        assertEquals("multi-class" to null, manifest.task to manifest.decision)
    }

    @Test
    fun `a manifest of independent labels brings its threshold and its own figures`() {
        val manifest = Manifest.parse(multiLabel(manifestText()))
        assertEquals(0.5, manifest.decision?.threshold)
        assertEquals(0.9 to null, manifest.figures.labelAccuracy to manifest.figures.top1)
    }

    @ParameterizedTest
    @CsvSource(
        "'\"multi-label\"', '\"regression\"', 'unknown task \"regression\"'",
        "'\"multi-label\"', '\"ordinal\"', a threshold goes with multi-label",
        "'\"decision\": {\"threshold\": 0.5},', '', a threshold goes with multi-label",
        "'\"threshold\": 0.5', '\"threshold\": 1.0', 'threshold is 1.0, a fraction is wanted'",
        "'\"label_accuracy\"', '\"top1\"', the figures are not those of a multi-label model",
    )
    fun `independent labels without what they need are refused`(old: String, new: String, reason: String) {
        val text = multiLabel(manifestText())
        assertTrue(old in text)
        val message = assertThrows<BrokenManifest> { Manifest.parse(text.replaceFirst(old, new)) }.message.orEmpty()
        assertTrue(reason in message, message)
    }

    @Test
    fun `a manifest of a newer edgekd is refused, whatever else it says`() {
        refused<NewerSchema>("the bundle has manifest version 2, this app reads 1; update the app") {
            Manifest.parse("""{"schema_version": 2, "files": "elsewhere"}""")
        }
    }

    @ParameterizedTest
    @ValueSource(
        strings = [
            "", "[]", "{}", "null", "\uFEFF{}", "{\"schema_version\": 1}", "{\"schema_version\": \"one\"}",
            "{\"schema_version\": 1.5}", "{\"schema_version\": [1]}",
        ],
    )
    fun `what is no manifest is refused in one line`(text: String) = refusedInOneLine(text)

    @Test
    fun `a manifest that nests without end is refused`() = refusedInOneLine("[".repeat(100_000))

    @ParameterizedTest
    @CsvSource(
        "'\"schema_version\": 1', '\"schema_version\": 0', manifest version 0",
        "'\"size\": 2', '\"size\": 0', size is 0 pixels",
        "'\"size\": 2', '\"size\": 5000', size is 5000 pixels",
        "'\"stretch\"', '\"squash\"', 'unknown resize \"squash\"'",
        "pillow-bilinear, nearest, 'unknown filter \"nearest\"'",
        "'\"exif_rotation\": true', '\"exif_rotation\": false', not turned upright",
        "0.6, 1.5, min_confidence is 1.5",
        "0.0078125, 0.5, 'tolerance is 0.5, at most 0.0078125 is allowed'",
        "'[\"dark\", \"bright\"]', '[\"dark\"]', at least two labels",
        "'\"labels\"', '\"names\"', labels",
        "'\"uint8\"', '\"int8\"', 'input is int8 [1, 2, 2, 3], scale 1.0, zero point 0; uint8'",
        "'[1, 2, 2, 3]', '[1, 3, 3, 3]', 'input is uint8 [1, 3, 3, 3]'",
        "'\"scale\": 1.0', '\"scale\": 0.851', scale 0.851",
        "'\"zero_point\": 0', '\"zero_point\": 128', zero point 128",
        "'\"RGB\"', '\"BGR\"', BGR",
        "'\"float32\"', '\"int8\"', 'output is int8 [1, 2]'",
    )
    fun `a value that this app cannot follow is refused`(old: String, new: String, reason: String) {
        val text = manifestText()
        assertTrue(old in text)
        val message = assertThrows<BrokenManifest> { Manifest.parse(text.replaceFirst(old, new)) }.message.orEmpty()
        assertTrue(reason in message, message)
    }

    @Test
    fun `a file may be named once, and the manifest not at all`() {
        fun naming(vararg names: String) = manifestText().replace(
            "\"files\": []",
            "\"files\": [" + names.joinToString { "{\"path\": \"$it\", \"sha256\": \"\", \"bytes\": 0}" } + "]",
        )
        assertEquals(2, Manifest.parse(naming("a", "b")).files.size)
        refused<BrokenManifest>("the bundle cannot be read: files names a file twice; build it again") {
            Manifest.parse(naming("a", "b", "a"))
        }
        refused<BrokenManifest>("the bundle cannot be read: files names the manifest itself; build it again") {
            Manifest.parse(naming(MANIFEST_FILE))
        }
    }

    private fun refusedInOneLine(text: String) {
        val message = assertThrows<BrokenManifest> { Manifest.parse(text) }.message.orEmpty()
        assertTrue(message.startsWith("the bundle cannot be read: ") && message.endsWith("; build it again"), message)
        assertEquals(1, message.lines().size)
    }
}
