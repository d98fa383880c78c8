import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.edgekd.demo"
    compileSdk = 35

    defaultConfig {
        applicationId = "org.edgekd.demo"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "0.1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    androidResources {
        // Stored, not deflated, so that the model is mapped into memory as it lies in the APK.
        noCompress += "tflite"
    }

    packaging {
        jniLibs {
            useLegacyPackaging = false // native libraries are mapped too, aligned to pages of 16 KiB
        }
    }

    testOptions {
        unitTests.all { it.useJUnitPlatform() }
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_1_8
    }
}

dependencies {
    implementation(project(":core"))
    implementation(libs.litert)

    testImplementation(platform(libs.junit5.bom))
    testImplementation(libs.junit5)
    testRuntimeOnly(libs.junit5.launcher)

    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.junit4)
}
