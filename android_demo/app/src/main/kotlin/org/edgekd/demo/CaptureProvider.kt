package org.edgekd.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import java.io.File
import java.io.FileNotFoundException

/** One file, into which the camera app writes the picture that it was asked for. */
class CaptureProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun getType(uri: Uri): String = "image/jpeg"

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        val context = context
        if (context == null || uri != URI) throw FileNotFoundException(uri.toString())
        return ParcelFileDescriptor.open(file(context), ParcelFileDescriptor.parseMode(mode))
    }

    override fun query(
        uri: Uri,
        projection: Array<out String>?,
        selection: String?,
        selectionArgs: Array<out String>?,
        sortOrder: String?,
    ): Cursor? = null

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<out String>?): Int = 0

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<out String>?): Int = 0

    companion object {
        val URI: Uri = Uri.parse("content://org.edgekd.demo.capture/picture.jpg")

        /** Where the picture lies; in the cache, so that nothing of it outlives the app. */
        fun file(context: Context): File =
            File(context.cacheDir, "capture").apply { mkdirs() }.resolve("picture.jpg")
    }
}
