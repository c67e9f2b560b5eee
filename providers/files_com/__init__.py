"""Files.com (formerly BrickFTP): events of files and folders, and on request of users, groups and permissions."""

from providers.files_com.provider import FilesCom

provider = FilesCom()
