"""Files.com (formerly BrickFTP): what happens to files and folders, and on request to users, groups and permissions."""

from providers.files_com.provider import FilesCom

provider = FilesCom()
