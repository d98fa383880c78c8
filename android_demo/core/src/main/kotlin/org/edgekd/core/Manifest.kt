@file:OptIn(ExperimentalSerializationApi::class)

package org.edgekd.core

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonNamingStrategy
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive

const val SCHEMA_VERSION = 1
const val MANIFEST_FILE = "edgekd_manifest.json"
const val MODEL_FILE = "model.tflite"
const val LABELS_FILE = "labels.txt"

internal val json = Json {
    ignoreUnknownKeys = true
    encodeDefaults = true
    prettyPrint = true
    namingStrategy = JsonNamingStrategy.SnakeCase
}

/** What `edgekd_manifest.json` says, as far as an app needs it; names as in the file's schema. */
@Serializable
data class Manifest(
    val schemaVersion: Int,
    val edgekdVersion: String,
    val recipe: String,
    val intendedUse: String,
    val input: TensorSpec,
    val output: TensorSpec,
    val preprocessing: PreprocessingRule,
    val labels: List<String>,
    val task: String = "multi-class",
    val decision: Decision? = null,
    val minConfidence: Double,
    val tolerance: Double,
    val figures: Figures,
    val data: DataSource,
    val golden: String,
    val files: List<BundledFile>,
) {
    init {
        require(labels.size >= 2) { "at least two labels are wanted" }
        require(task in TASKS) { "unknown task \"$task\"" }
        require((task == MULTI_LABEL) == (decision != null)) { "a threshold goes with $MULTI_LABEL, and with no other task" }
        require((figures.labelAccuracy != null) == (task == MULTI_LABEL)) { "the figures are not those of a $task model" }
        require((figures.top1 != null) == (task != MULTI_LABEL)) { "the figures are not those of a $task model" }
        val pixels = TensorSpec("", listOf(1, preprocessing.size, preprocessing.size, 3), "uint8", 1.0, 0)
        require(input.matches(pixels)) { "input is $input; $pixels is wanted" }
        require(output.dtype == "float32") { "output is $output; float32 is wanted" }
        val names = files.map { it.path }
        require(names.distinct() == names) { "files names a file twice" }
        require(MANIFEST_FILE !in names) { "files names the manifest itself" }
        require(minConfidence in 0.0..1.0) { "min_confidence is $minConfidence, a fraction is wanted" }
        require(tolerance in 0.0..MAX_TOLERANCE) { "tolerance is $tolerance, at most $MAX_TOLERANCE is allowed" }
    }

    companion object {
        private const val MULTI_LABEL = "multi-label"
        private val TASKS = setOf("binary", "multi-class", "ordinal", MULTI_LABEL)

        /** A self-test that lets everything pass would prove nothing. */
        const val MAX_TOLERANCE = 2.0 / 256

        /** Read a manifest's text; [NewerSchema] or [BrokenManifest] if this app cannot. */
        fun parse(text: String): Manifest = parsing {
            val version = json.parseToJsonElement(text).jsonObject.getValue("schema_version").jsonPrimitive.int
            if (version > SCHEMA_VERSION) throw NewerSchema(version, SCHEMA_VERSION)
            require(version == SCHEMA_VERSION) { "manifest version $version was never written" }
            json.decodeFromString<Manifest>(text)
        }
    }
}

/**
 * A tensor: [dtype] as numpy calls it; real value = [scale] * (stored - [zeroPoint]), 0 and 0 where not quantized.
 * What a model's file does not say is assumed: the [colourOrder].
 */
@Serializable
data class TensorSpec(
    val name: String,
    val shape: List<Int>,
    val dtype: String,
    val scale: Double = 0.0,
    val zeroPoint: Int = 0,
    val colourOrder: String = "RGB",
) {
    /** Whether both describe the same values in the same order, whatever the tensors are called. */
    fun matches(other: TensorSpec): Boolean = copy(name = "") == other.copy(name = "")

    override fun toString(): String = "$dtype $shape" +
        (if (scale == 0.0) "" else ", scale $scale, zero point $zeroPoint") +
        (if (colourOrder == "RGB") "" else ", $colourOrder")
}

/** How a picture becomes the model's square of [size] x [size] pixels. */
@Serializable
data class PreprocessingRule(val resize: String, val size: Int, val filter: String, val exifRotation: Boolean) {
    init {
        require(resize == STRETCH || resize == CENTER_CROP) { "unknown resize \"$resize\"" }
        require(size in 1..4096) { "size is $size pixels" }
        require(filter == "pillow-bilinear") { "unknown filter \"$filter\"" }
        require(exifRotation) { "pictures that are not turned upright are not supported" }
    }

    companion object {
        const val STRETCH = "stretch"
        const val CENTER_CROP = "center_crop"
    }
}

/** Of a model whose labels are independent of each other: each is found where its probability exceeds [threshold]. */
@Serializable
data class Decision(val threshold: Double) {
    init {
        require(threshold > 0.0 && threshold < 1.0) { "threshold is $threshold, a fraction is wanted" }
    }
}

/** What the report says of the model: [top1], or [labelAccuracy] where labels are independent of each other. */
@Serializable
data class Figures(
    val dataset: String,
    val split: String,
    val n: Int,
    val top1: Double? = null,
    val labelAccuracy: Double? = null,
    val auc: Double? = null,
)

/** Where the training images come from. */
@Serializable
data class DataSource(val name: String, val licence: String, val source: String, val attribution: String)

@Serializable
data class BundledFile(val path: String, val sha256: String, val bytes: Long)

/** Turns what a JSON reader throws into [BrokenManifest]; typed errors pass. */
internal fun <T> parsing(read: () -> T): T = try {
    read()
} catch (error: IllegalArgumentException) { // SerializationException is one
    throw BrokenManifest(error.message.orEmpty().lineSequence().first())
} catch (error: NoSuchElementException) {
    throw BrokenManifest(error.message.orEmpty())
} catch (_: StackOverflowError) {
    throw BrokenManifest("it nests too deep")
}
